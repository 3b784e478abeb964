"""The form of instance ids, and EC2's words for one that is not there."""

from __future__ import annotations

from gureum.aws.ec2.ids import IdForm

INSTANCE = IdForm("i", "instance ID", "instance", "InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed")
