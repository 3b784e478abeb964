"""Quotas of Auto Scaling, as a new account on AWS has them (docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-quotas.html)."""

from __future__ import annotations

GROUPS = 500
LAUNCH_CONFIGURATIONS = 200
