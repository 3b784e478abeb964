"""What every process of gureum starts from. It imports nothing else of gureum.

settings.py  homes.py                           what the user chose; the home's folder, id, pool and ports
supervised.py  fd_store.py  predecessors.py     talk with the supervisor, sockets that outlive a process, one supervisor per home
logs.py  log_files.py                           lines of logs, and the files that the supervisor keeps
clock.py  processes.py  priority.py  lean_imports.py          the process itself
sealing.py  keyring.py  disk_keys.py  ssh_host_keys.py        secrets and keys at rest
ids.py  numerals.py  addresses.py  globs.py  linear_regex.py  cron.py  trees.py  tallies.py         small values, also of strangers
user_data.py ─► cloud_config.py ─► boot_plan.py ─► boot_script.py       what a machine does at its start, from its user data
hostile_yaml.py  yaml_limits.py                 YAML that strangers wrote
oci_registry.py  quotas.py  tls_policies.py     images of a registry; figures of AWS's that several parts read
"""
