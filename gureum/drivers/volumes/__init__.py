"""Volumes: files with file systems of their own on loop devices, or plain folders; roots of containers; snapshots."""
