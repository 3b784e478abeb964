"""Instance refreshes. AWS: "Use an instance refresh to update instances in an Auto Scaling group"."""

from __future__ import annotations

from tests.aws.autoscaling.conftest import HUGE

G = {"AutoScalingGroupName": "g"}


def refresh(cloud):
    return cloud("DescribeInstanceRefreshes", **G)["InstanceRefreshes"][0]


def new_version(cloud, image="t3.micro"):
    data = {"InstanceType": image}
    cloud(
        "ec2:CreateLaunchTemplateVersion", LaunchTemplateId=cloud.template, SourceVersion="1", LaunchTemplateData=data
    )


def types(cloud):
    return {one["InstanceType"] for one in cloud.told()["Instances"]}


def mixed(cloud, *types, **distribution):
    template = {"LaunchTemplateSpecification": {"LaunchTemplateId": cloud.template, "Version": "1"}}
    template["Overrides"] = [{"InstanceType": one} for one in types]
    return {"LaunchTemplate": template} | ({"InstancesDistribution": distribution} if distribution else {})


def mixed_group(cloud, *types):
    base = {"MinSize": 0, "MaxSize": 10, "DesiredCapacity": 2, "AvailabilityZones": ["us-east-1a"]}
    cloud("CreateAutoScalingGroup", **G, **base, MixedInstancesPolicy=mixed(cloud, *types))
    cloud.boot()


def own_types(cloud):
    policy = cloud.told().get("MixedInstancesPolicy", {"LaunchTemplate": {"Overrides": []}})
    return [one["InstanceType"] for one in policy["LaunchTemplate"]["Overrides"]]


def through(cloud, times=20):
    for _ in range(times):
        cloud.through(10)
    return refresh(cloud)["Status"]


def test_a_mixed_instances_policy_is_deployed_and_becomes_the_groups_when_it_has_succeeded(cloud):
    mixed_group(cloud, "t3.nano")
    wanted = {"MixedInstancesPolicy": mixed(cloud, "t3.micro", "t3.small")}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences={"InstanceWarmup": 0})
    assert own_types(cloud) == ["t3.nano"]
    assert through(cloud) == "Successful"
    assert (own_types(cloud), types(cloud)) == (["t3.micro", "t3.small"], {"t3.micro"})
    assert refresh(cloud)["DesiredConfiguration"] == wanted


def test_a_group_with_a_template_gets_a_policy_and_a_cancelled_one_leaves_it_as_it_was(cloud):
    cloud.group(size=2)
    wanted = {"MixedInstancesPolicy": mixed(cloud, "t3.micro")}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences={"InstanceWarmup": 3600})
    cloud.through(10)
    cloud("CancelInstanceRefresh", **G)
    assert through(cloud) == "Cancelled"
    told = cloud.told()
    assert "MixedInstancesPolicy" not in told
    assert told["LaunchTemplate"]["LaunchTemplateId"] == cloud.template
    before = set(cloud.ids())
    cloud("SetDesiredCapacity", **G, DesiredCapacity=3)
    cloud.boot()
    (new,) = set(cloud.ids()) - before
    assert next(one["InstanceType"] for one in cloud.told()["Instances"] if one["InstanceId"] == new) == "t3.nano"


def test_a_policy_that_cannot_be_launched_goes_back_to_the_one_before(cloud):
    mixed_group(cloud, "t3.nano")
    wanted = {"MixedInstancesPolicy": mixed(cloud, HUGE)}
    more = {"InstanceWarmup": 0, "AutoRollback": True}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences=more)
    for _ in range(20):
        cloud.wait(3600)
        cloud.through(10)
    assert refresh(cloud)["Status"] == "RollbackSuccessful"
    assert (own_types(cloud), types(cloud)) == (["t3.nano"], {"t3.nano"})


def test_those_of_a_type_that_the_policy_still_has_are_skipped(cloud):
    mixed_group(cloud, "t3.nano")
    before = set(cloud.ids())
    for kept, name in ((True, "t3.nano"), (False, "t3.micro")):
        wanted = {"MixedInstancesPolicy": mixed(cloud, name, "t3.small", OnDemandPercentageAboveBaseCapacity=0)}
        more = {"InstanceWarmup": 0, "SkipMatching": True}
        cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences=more)
        assert through(cloud) == "Successful"
        assert (set(cloud.ids()) == before) is kept


def test_a_policy_with_weights_is_no_desired_configuration_yet(cloud):
    mixed_group(cloud, "t3.nano")
    wanted = {"MixedInstancesPolicy": mixed(cloud, "t3.micro")}
    wanted["MixedInstancesPolicy"]["LaunchTemplate"]["Overrides"][0]["WeightedCapacity"] = "2"
    assert cloud.refused("StartInstanceRefresh", **G, DesiredConfiguration=wanted)[0] == "NotImplemented"
    both = wanted | {"LaunchTemplate": {"LaunchTemplateId": cloud.template}}
    assert cloud.refused("StartInstanceRefresh", **G, DesiredConfiguration=both)[0] == "ValidationError"


def test_all_instances_are_replaced_and_never_fewer_than_asked_for_serve(cloud):
    cloud.group(size=4)
    old = set(cloud.ids())
    new_version(cloud)
    cloud("StartInstanceRefresh", **G, Preferences={"MinHealthyPercentage": 50, "InstanceWarmup": 0})
    least = 4
    for _ in range(20):
        least = min(least, len(cloud.ids()))
        cloud.through(10)
    assert refresh(cloud)["Status"] == "Successful"
    assert least >= 2
    assert types(cloud) == {"t3.micro"}
    assert not old & set(cloud.ids())
    assert cloud.alive() == set(cloud.ids())


def test_above_a_hundred_percent_new_ones_come_first(cloud):
    cloud.group(size=2)
    cloud(
        "StartInstanceRefresh",
        **G,
        Preferences={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "InstanceWarmup": 0},
    )
    for _ in range(20):
        assert len(cloud.ids()) >= 2
        cloud.through(10)
    assert refresh(cloud)["Status"] == "Successful"


def test_those_that_match_are_skipped(cloud):
    cloud.group(size=2)
    before = set(cloud.ids())
    cloud("StartInstanceRefresh", **G, Preferences={"SkipMatching": True})
    assert refresh(cloud)["Status"] == "Successful"
    assert set(cloud.ids()) == before


def test_only_one_at_a_time_and_cancelled_it_stays_where_it_is(cloud):
    cloud.group(size=2)
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 1000})
    assert cloud.refused("StartInstanceRefresh", **G)[0] == "InstanceRefreshInProgress"
    (gone,) = cloud.ids("Terminating")
    cloud("CancelInstanceRefresh", **G)
    assert refresh(cloud)["Status"] == "Cancelling"
    assert cloud.refused("StartInstanceRefresh", **G)[0] == "InstanceRefreshInProgress"
    assert cloud.refused("RollbackInstanceRefresh", **G)[0] == "ActiveInstanceRefreshNotFound"
    cloud.through(60)
    assert (refresh(cloud)["Status"], refresh(cloud)["StatusReason"]) == ("Cancelled", "Cancelled due to user request.")
    assert len(cloud.ids()) == 2
    assert gone not in cloud.ids()
    assert cloud.refused("CancelInstanceRefresh", **G)[0] == "ActiveInstanceRefreshNotFound"


def test_a_cancellation_may_leave_what_is_under_way_to_itself(cloud):
    cloud.group(size=2)
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 1000})
    cloud("CancelInstanceRefresh", **G, WaitForTransitioningInstances=False)
    assert refresh(cloud)["Status"] == "Cancelled"
    assert "EndTime" in refresh(cloud)


def test_one_of_one_is_refreshed_also_by_a_tenth_more(cloud):
    cloud.group(size=1)
    (old,) = cloud.ids()
    cloud(
        "StartInstanceRefresh",
        **G,
        Preferences={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110, "InstanceWarmup": 0},
    )
    assert cloud.states() == ["InService", "Pending"]
    cloud.through(60)
    assert refresh(cloud)["Status"] == "Successful"
    assert old not in cloud.ids()


def test_a_refresh_that_cannot_launch_rolls_itself_back(cloud):
    cloud.group(size=2, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    bad = cloud.new_template("bad", type_=HUGE)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": bad, "Version": "1"}}
    cloud(
        "StartInstanceRefresh",
        **G,
        DesiredConfiguration=wanted,
        Preferences={"InstanceWarmup": 0, "AutoRollback": True},
    )
    cloud.through(4000, step=60)
    assert refresh(cloud)["Status"] == "RollbackSuccessful"
    assert cloud.told()["LaunchTemplate"]["LaunchTemplateId"] == cloud.template
    assert len(cloud.ids()) == 2


def test_a_refresh_to_a_template_of_which_nothing_can_be_launched_is_refused(cloud):
    cloud.group(size=1, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    bad = cloud.new_template("bad", "ami-0123456789abcdef0")
    wanted = {"LaunchTemplate": {"LaunchTemplateId": bad, "Version": "1"}}
    assert cloud.refused("StartInstanceRefresh", **G, DesiredConfiguration=wanted)[0] == "ValidationError"


def test_what_has_no_numbered_version_before_it_cannot_be_rolled_back(cloud):
    cloud.group(size=1)
    cloud("StartInstanceRefresh", **G)
    assert cloud.refused("RollbackInstanceRefresh", **G)[0] == "IrreversibleInstanceRefresh"


def test_a_rollback_puts_back_what_was(cloud):
    cloud.group(size=2, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    new_version(cloud)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": cloud.template, "Version": "2"}}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences={"InstanceWarmup": 0})
    cloud.boot()
    cloud("RollbackInstanceRefresh", **G)
    cloud.through(200)
    assert refresh(cloud)["Status"] == "RollbackSuccessful"
    assert types(cloud) == {"t3.nano"}
    assert cloud.told()["LaunchTemplate"]["Version"] == "1"


def test_a_checkpoint_is_waited_at(cloud):
    cloud.group(size=2)
    old = set(cloud.ids())
    wanted = {
        "CheckpointPercentages": [50, 100],
        "CheckpointDelay": 500,
        "InstanceWarmup": 0,
        "MinHealthyPercentage": 0,
    }
    cloud("StartInstanceRefresh", **G, Preferences=wanted)
    cloud.through(200)
    assert len(old & set(cloud.ids())) == 1
    assert refresh(cloud)["PercentageComplete"] == 50
    cloud.through(1200)
    assert refresh(cloud)["Status"] == "Successful"


def test_a_daemon_killed_in_the_middle_goes_on(cloud):
    cloud.group(size=3)
    old = set(cloud.ids())
    cloud("StartInstanceRefresh", **G, Preferences={"MinHealthyPercentage": 50, "InstanceWarmup": 0})
    for _ in range(20):
        cloud.kill()
        cloud.start()
        cloud.through(10)
    assert refresh(cloud)["Status"] == "Successful"
    assert len(cloud.ids()) == 3
    assert not old & set(cloud.ids())
    assert cloud.alive() == set(cloud.ids()) == cloud.members()


def test_protected_instances_are_waited_for_an_hour_unless_told_otherwise(cloud):
    cloud.group(size=2)
    protected, other = cloud.ids()
    cloud("SetInstanceProtection", **G, InstanceIds=[protected], ProtectedFromScaleIn=True)
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 0})
    cloud.through(1800, step=60)
    assert refresh(cloud)["Status"] == "InProgress"
    assert protected in cloud.ids()
    assert other not in cloud.ids()
    cloud("SetInstanceProtection", **G, InstanceIds=[protected], ProtectedFromScaleIn=False)
    cloud.through(120)
    assert refresh(cloud)["Status"] == "Successful"
    (protected, _) = cloud.ids()
    cloud("SetInstanceProtection", **G, InstanceIds=[protected], ProtectedFromScaleIn=True)
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 0})
    cloud.through(4000, step=60)
    assert refresh(cloud)["Status"] == "Failed"
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 0, "ScaleInProtectedInstances": "Ignore"})
    cloud.through(120)
    assert refresh(cloud)["Status"] == "Successful"
    assert protected in cloud.ids()
    cloud("StartInstanceRefresh", **G, Preferences={"InstanceWarmup": 0, "ScaleInProtectedInstances": "Refresh"})
    cloud.through(120)
    assert refresh(cloud)["Status"] == "Successful"
    assert protected not in cloud.ids()


def test_instances_in_standby_are_waited_for_ignored_or_ended(cloud):
    cloud.group(size=2)

    def refreshed(how):
        one = cloud.ids()[0]
        cloud("EnterStandby", **G, InstanceIds=[one], ShouldDecrementDesiredCapacity=True)
        wanted = {"InstanceWarmup": 0} | ({"StandbyInstances": how} if how else {})
        cloud("StartInstanceRefresh", **G, Preferences=wanted)
        cloud.through(120)
        return one

    one = refreshed("")
    assert refresh(cloud)["Status"] == "InProgress"
    cloud("ExitStandby", **G, InstanceIds=[one])
    cloud.through(120)
    assert refresh(cloud)["Status"] == "Successful"
    assert one not in cloud.ids()
    one = refreshed("Ignore")
    assert refresh(cloud)["Status"] == "Successful"
    assert cloud.ids("Standby") == [one]
    cloud("ExitStandby", **G, InstanceIds=[one])
    cloud.boot()
    one = refreshed("Terminate")
    assert refresh(cloud)["Status"] == "Successful"
    assert cloud.ids("Standby") == []
    assert one not in cloud.alive()


def test_at_the_end_it_bakes_and_may_still_be_rolled_back(cloud):
    cloud.group(size=1, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    new_version(cloud)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": cloud.template, "Version": "2"}}
    start = {"DesiredConfiguration": wanted, "Preferences": {"InstanceWarmup": 0, "BakeTime": 600}}
    cloud("StartInstanceRefresh", **G, **start)
    cloud.through(60)
    assert (refresh(cloud)["Status"], types(cloud)) == ("Baking", {"t3.micro"})
    cloud("RollbackInstanceRefresh", **G)
    cloud.through(60)
    assert (refresh(cloud)["Status"], types(cloud)) == ("RollbackSuccessful", {"t3.nano"})
    cloud("StartInstanceRefresh", **G, **start)
    cloud.through(300)
    assert refresh(cloud)["Status"] == "Baking"
    cloud.through(400)
    assert refresh(cloud)["Status"] == "Successful"


def test_an_alarm_ends_it_and_rolls_it_back(cloud):
    alarm = {
        "Namespace": "n", "MetricName": "m", "Statistic": "Sum", "Period": 60, "EvaluationPeriods": 1, "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }  # fmt: skip
    cloud("cloudwatch:PutMetricAlarm", AlarmName="errors", **alarm)
    cloud.group(size=2, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    new_version(cloud)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": cloud.template, "Version": "2"}}
    watched = {"AlarmSpecification": {"Alarms": ["errors"]}, "InstanceWarmup": 1000, "AutoRollback": True}
    unknown = watched | {"AlarmSpecification": {"Alarms": ["none"]}}
    start = {**G, "DesiredConfiguration": wanted}
    assert cloud.refused("StartInstanceRefresh", **start, Preferences=unknown)[0] == "ValidationError"
    cloud("StartInstanceRefresh", **start, Preferences=watched)
    cloud.through(60)
    assert "t3.micro" in types(cloud)
    cloud("cloudwatch:SetAlarmState", AlarmName="errors", StateValue="ALARM", StateReason="by hand")
    assert refresh(cloud)["Status"] == "RollbackInProgress"
    assert refresh(cloud)["StatusReason"] == "The alarm errors went into the ALARM state."
    cloud.through(3000, step=60)
    assert (refresh(cloud)["Status"], types(cloud)) == ("RollbackSuccessful", {"t3.nano"})


DEPLOYED = {"InstanceWarmup": 0, "MinHealthyPercentage": 50}


def deploy(cloud, size, **more):
    """A group of version 1 to which version 2 is being deployed."""
    cloud.group(size=size, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    new_version(cloud)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": cloud.template, "Version": "2"}}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences=DEPLOYED | more)


def versions(cloud):
    return sorted(one["LaunchTemplate"]["Version"] for one in cloud.told()["Instances"])


def test_a_groups_settings_change_when_its_refresh_has_succeeded(cloud):
    """AWS: "After the instance refresh succeeds, Amazon EC2 Auto Scaling updates the Auto Scaling group settings"; scale-outs have them before."""
    deploy(cloud, 2)
    assert cloud.told()["LaunchTemplate"]["Version"] == "1"
    cloud("SetDesiredCapacity", **G, DesiredCapacity=4)
    cloud.through(100)
    assert refresh(cloud)["Status"] == "Successful"
    assert (cloud.told()["LaunchTemplate"]["Version"], versions(cloud)) == ("2", ["2"] * 4)


def test_what_is_cancelled_leaves_the_groups_settings_as_they_were(cloud):
    deploy(cloud, 2, InstanceWarmup=1000)
    cloud("CancelInstanceRefresh", **G)
    cloud("SetDesiredCapacity", **G, DesiredCapacity=3)
    cloud.through(100)
    assert refresh(cloud)["Status"] == "Cancelled"
    assert (cloud.told()["LaunchTemplate"]["Version"], versions(cloud)) == ("1", ["1", "1", "2"])


def test_what_fails_leaves_the_groups_settings_as_they_were(cloud):
    cloud.group(size=2, LaunchTemplate={"LaunchTemplateId": cloud.template, "Version": "1"})
    bad = cloud.new_template("bad", type_=HUGE)
    wanted = {"LaunchTemplate": {"LaunchTemplateId": bad, "Version": "1"}}
    cloud("StartInstanceRefresh", **G, DesiredConfiguration=wanted, Preferences=DEPLOYED)
    cloud.through(8000, step=60)
    assert refresh(cloud)["Status"] == "Failed"
    assert cloud.told()["LaunchTemplate"]["LaunchTemplateId"] == cloud.template
    assert versions(cloud) == ["1", "1"]


def test_what_a_refresh_deploys_is_not_to_be_changed_meanwhile(cloud):
    """AWS: "How an instance refresh works", "Limitations"."""
    deploy(cloud, 2)
    other = {"LaunchTemplateId": cloud.template, "Version": "$Latest"}
    code, text = cloud.refused("UpdateAutoScalingGroup", **G, LaunchTemplate=other)
    assert code == "ValidationError"
    assert text.startswith("An active instance refresh with a desired configuration exists. All configuration options")
    same = {"LaunchTemplateId": cloud.template, "Version": "1"}
    cloud("UpdateAutoScalingGroup", **G, MaxSize=9, LaunchTemplate=same)
    cloud.through(100)
    assert (refresh(cloud)["Status"], versions(cloud)) == ("Successful", ["2", "2"])


def test_a_launch_beside_a_rollback_is_rolled_back_too(cloud):
    deploy(cloud, 2, InstanceWarmup=1000)
    cloud.boot()
    commit, dying = cloud.store.commit, cloud.ids()[:1]

    async def beside(*given):
        """An instance dies while the rollback is on its way to the store, and what replaces it is there first."""
        if dying:
            await cloud._set([dying.pop()], "terminated")
        return await commit(*given)

    cloud.store.commit = beside
    cloud("RollbackInstanceRefresh", **G)
    cloud.store.commit = commit
    cloud.through(5000, step=50)
    assert refresh(cloud)["Status"] == "RollbackSuccessful"
    assert versions(cloud) == ["1", "1"]
