"""Containers by crun and conmon: machines, applications, what is run inside, consoles, and files seen from outside.

crun.py  crun_bundles.py  conmon.py             start, stop, find again
oci_spec.py  oci_application.py  seccomp.py  guest_users.py  inits.py  user_namespaces.py  cgroups.py        what a container is and may
sealed_program.py  free_console.py              how its programs begin
exec_sessions.py  process_families.py           programs run beside its own
console_files.py  conmon_streams.py             what it prints and hears
root_files.py  tar_inside.py  root_view.py  inside_root.py   its files, from outside
"""
