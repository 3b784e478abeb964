"""EC2 Auto Scaling: groups that keep their count of instances alive and change it by policies and schedules.

kinds.py                                        what is stored
groups.py  group_settings.py  group_show.py  attachments.py  tagging.py        groups, as users make and see them
member_operations.py  launch_instances.py  hooks.py                what users do to single instances
launch_configurations.py  from_instance.py      what groups launched from before there were launch templates

reconciling.py ─► passes.py                     one look of a group at all it has, one commit of what follows:
    launching.py  members.py  targets.py        launches, the way of a member, its target groups
    replacing.py  refreshing.py  termination.py  warm_pools.py     who goes, how many at a time, what waits warm

policies.py  scaling.py  adjustments.py  tracking.py  schedules.py         what changes the desired capacity
refreshes.py  refresh_progress.py               instance refreshes as operations
activities.py  sentences.py  events.py  messages.py  notices.py  notifications.py  group_metrics.py      what is told
processes.py  limits.py  lookup.py  faults.py   suspended processes, quotas, finding, refusals
"""
