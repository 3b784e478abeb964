"""Instances: from RunInstances and launch templates to the machine, its status, metadata and end."""
