"""Instances: from RunInstances and launch templates to the machine, its status, metadata and end.

launch.py  launch_options.py  interfaces.py     RunInstances: what is asked, checked, and made in one commit
launch_templates.py  launch_template_data.py  launch_template_of.py
kinds.py  lowering.py                           what is stored; what an instance is on the machine
lifecycle.py  changes.py  root_replacements.py  start, stop, reboot, terminate, and the reconcile that moves the state
describe.py  show.py  filters.py  reports.py    what instances tell
attributes.py  options.py  metadata_options.py  host_names.py
types.py  type_describe.py  requirements.py  vcpu_quota.py  host_room.py       types, and what the host has room for
profiles.py  credentials.py (credential_kinds.py)            roles of machines
key_pairs.py  ssh_keys.py  serial_consoles.py  console_logs.py
metrics.py  status_checks.py                    what is measured, and whether a machine is well
capacity_reservations.py  capacity_fleets.py (capacity_kinds.py)  placement_groups.py  credit_defaults.py
event_windows.py  event_notifications.py        of scheduled events, of which there are none
"""
