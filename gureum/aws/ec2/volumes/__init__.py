"""EBS: volumes and snapshots."""
