"""Volumes: files with file systems of their own on loop devices, or plain folders; roots of containers; snapshots.

loop_volumes.py                                 fills ports/volumes.py, with:
    volume_files.py  file_systems.py  loop_devices.py        a volume's file, its file system, its device
    volume_mounts.py  volume_roots.py  overlay.py            where it is mounted, and who uses it
    volume_snapshots.py  volume_archives.py  volume_copies.py              snapshots, their archive, copies
    volume_keys.py  volume_recoding.py          encryption
folder_volumes.py                               volumes of applications, and what of the host is mounted in them
mounts.py  ext4_control.py                      the system calls
"""
