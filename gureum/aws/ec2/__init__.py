"""EC2: virtual networks and machines.

One file per resource. The stored shapes of the network half stand together in `networks/kinds.py`, since they refer to each other in
both directions (a subnet names its VPC, a VPC can only go when it has no subnet).
"""
