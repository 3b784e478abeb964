"""Volumes and claims: bound, released, held while they are used; and volumes that only say that they are there."""
