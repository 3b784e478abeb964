"""The tour's fourth part: a group behind the application load balancer that grows with the load, shrinks after it, and replaces what dies.

AWS's own periods are minutes. The tour tells of the settings with which this gureum may go by the second, and works with either; it only
takes longer without them.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import time
from collections import Counter
from typing import Any

from gureum.cli.demo.balancing import HEALTHY_LIMIT_S, SERVED_PORT, Load
from gureum.cli.demo.fetching import fetch
from gureum.cli.demo.naming import NAME
from gureum.cli.demo.tour import Tour
from gureum.cli.output import Failure

QUICK = {
    "metrics_period_s": "1",
    "alarm_evaluation_s": "0.5",
    "alarm_minute_s": "2",
    "scaling_low_periods": "3",
    "scaling_warmup_s": "2",
    "flow_log_interval_s": "2",
}
"""Settings of a cloud that the tour starts itself."""
TARGET = 60.0
MOST = 3
AWS_PERIODS = 8


def scaling(tour: Tour) -> None:
    """An Auto Scaling group that follows the requests per target."""
    tour.title("Auto Scaling: load, metric, alarm, launch, traffic")
    limit_s = _limit_s(tour)
    tour.say(f"  settings that let this cloud go by the second: {_told(tour)}")
    data = {"ImageId": tour.made["image"], "InstanceType": "t3.nano", "SecurityGroupIds": [tour.made["group behind"]]}
    (tour.folder / "template.json").write_text(json.dumps(data | {"UserData": _user_data(tour)}))
    tour.make("template", "ec2", "create-launch-template", "--launch-template-name", NAME, "--launch-template-data",
              f"file://{tour.folder / 'template.json'}", query="LaunchTemplate.LaunchTemplateId")  # fmt: skip
    tour.aws("elbv2", "modify-target-group-attributes", "--target-group-arn", tour.made["targets api"], "--attributes",
             "Key=deregistration_delay.timeout_seconds,Value=1")  # fmt: skip
    tour.aws(
        "autoscaling", "create-auto-scaling-group", "--auto-scaling-group-name", NAME, "--min-size", "1", "--max-size", str(MOST),
        "--launch-template", f"LaunchTemplateName={NAME}", "--vpc-zone-identifier", tour.made["private subnet"],
        "--target-group-arns", tour.made["targets api"], "--health-check-type", "ELB", "--health-check-grace-period", "5",
    )  # fmt: skip
    tour.aws(
        "elbv2",
        "deregister-targets",
        "--target-group-arn",
        tour.made["targets api"],
        "--targets",
        f"Id={tour.made['api 1']}",
    )
    _until(
        tour,
        "one machine of the group serves",
        lambda: len(_serving(tour)) == 1 and tour.made["api 1"] not in _serving(tour),
        HEALTHY_LIMIT_S,
    )
    label = tour.made["alb"].partition(":loadbalancer/")[2] + "/" + tour.made["targets api"].rpartition(":")[2]
    metric = {"PredefinedMetricType": "ALBRequestCountPerTarget", "ResourceLabel": label}
    tracking = json.dumps({"TargetValue": TARGET, "PredefinedMetricSpecification": metric})
    tour.aws("autoscaling", "put-scaling-policy", "--auto-scaling-group-name", NAME, "--policy-name", "requests", "--policy-type",
             "TargetTrackingScaling", "--target-tracking-configuration", tracking)  # fmt: skip
    started = time.monotonic()
    with Load(tour.made["alb address"], "/api/") as load:
        _until(
            tour, "the load made the group grow: two machines are healthy", lambda: len(_serving(tour)) >= 2, limit_s
        )
        grown = time.monotonic()
        load.since_now()
        _until(tour, "both answer", lambda: len(load.answers) >= 2, HEALTHY_LIMIT_S)
        tour.measured("load: from its first request until a new machine answered", time.monotonic() - started)
    if load.failed:
        raise Failure(f"{len(load.failed)} requests failed meanwhile, the first: {load.failed[0]}")
    tour.result(f"meanwhile {load.told}; the machines were there {grown - started:.0f} s after the load began")
    _timeline(tour)
    tour.say(
        "  the load goes; some requests still come (without any, the metric is unknown and the group stays, as on AWS)"
    )
    with Load(tour.made["alb address"], "/api/", pause_s=2.0) as trickle:
        _until(tour, "the group is down to one machine", lambda: len(_members(tour)) == 1, 6 * limit_s)
    if trickle.failed:
        raise Failure(f"{len(trickle.failed)} requests failed while the group shrank, the first: {trickle.failed[0]}")


def healing(tour: Tour) -> None:
    """A machine dies."""
    tour.title("Self-healing: a machine of the group is killed")
    (victim,) = _members(tour)
    tour.aws("ec2", "terminate-instances", "--instance-ids", victim)
    started = time.monotonic()
    _until(
        tour,
        "another machine has taken its place and is healthy",
        lambda: victim not in _serving(tour) and bool(_serving(tour)),
        HEALTHY_LIMIT_S,
    )
    tour.measured("a killed machine: until another is healthy behind the load balancer", time.monotonic() - started)
    answers = Counter(fetch(tour.made["alb address"], SERVED_PORT, 5.0, "/api/") for _ in range(5))
    tour.result(f"the load balancer answers: {', '.join(answers)}")


def clear_group(tour: Tour) -> None:
    """The group with its machines, and what it launched from."""
    if _groups(tour):
        tour.aws("autoscaling", "delete-auto-scaling-group", "--auto-scaling-group-name", NAME, "--force-delete")
        _until(tour, "", lambda: not _groups(tour), HEALTHY_LIMIT_S)
    tour.aws("ec2", "delete-launch-template", "--launch-template-name", NAME, check=False)


def _limit_s(tour: Tour) -> float:
    """How long an alarm may take: AWS's three minutes and what comes around them, or less by the settings."""
    return max(60.0, AWS_PERIODS * float(tour.settings.alarm_minute_s))


def _told(tour: Tour) -> str:
    shown = (f"{name}={getattr(tour.settings, name):g}" for name in QUICK)
    return ", ".join(shown)


def _user_data(tour: Tour) -> str:
    return base64.b64encode((tour.folder / "served.sh").read_bytes()).decode()


def _timeline(tour: Tour) -> None:
    """What happened when, as the cloud itself recorded it."""
    found: list[tuple[dt.datetime, str]] = []
    history = tour.aws("cloudwatch", "describe-alarm-history", "--history-item-type", "StateUpdate", "--max-records", "10",
                       query="AlarmHistoryItems[].[Timestamp,HistorySummary,AlarmName]")  # fmt: skip
    found += [
        (_time(when), f"{name}: {what}") for when, what, name in history if name.startswith(f"TargetTracking-{NAME}")
    ]
    acts = tour.aws(
        "autoscaling",
        "describe-scaling-activities",
        "--auto-scaling-group-name",
        NAME,
        query="Activities[].[StartTime,Description]",
    )
    found += [(_time(when), what) for when, what in acts]
    for when, what in sorted(found):
        tour.say(f"    {when:%H:%M:%S.%f}  {what}")


def _time(told: str | float) -> dt.datetime:
    """The command line shows times as the service sends them: seconds since 1970, or ISO 8601."""
    if isinstance(told, str):
        return dt.datetime.fromisoformat(told)
    return dt.datetime.fromtimestamp(told, dt.UTC)


def _members(tour: Tour) -> list[str]:
    return [one["InstanceId"] for group in _groups(tour) for one in group["Instances"]]


def _groups(tour: Tour) -> list[dict[str, Any]]:
    words = ("autoscaling", "describe-auto-scaling-groups", "--auto-scaling-group-names", NAME)
    return list(tour.aws(*words, query="AutoScalingGroups"))


def _serving(tour: Tour) -> list[str]:
    words = ("elbv2", "describe-target-health", "--target-group-arn", tour.made["targets api"])
    healthy = "TargetHealthDescriptions[?TargetHealth.State=='healthy'].Target.Id"
    return list(tour.aws(*words, query=healthy))


def _until(tour: Tour, what: str, look: Any, limit_s: float) -> None:
    quiet, tour.quiet = tour.quiet, True
    deadline = time.monotonic() + limit_s
    try:
        while not look():
            if time.monotonic() > deadline:
                raise Failure(f"it did not come to it within {limit_s:.0f} s: {what}")
            time.sleep(0.2)
    finally:
        tour.quiet = quiet
    if what:
        tour.result(what)
