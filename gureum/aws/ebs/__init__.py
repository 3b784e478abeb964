"""EBS direct APIs: the blocks of snapshots, read over HTTP."""
