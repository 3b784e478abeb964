"""VPC flow logs: what is to be recorded, the records, and their way to a group, a file or a bucket."""
