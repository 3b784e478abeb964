"""What a launch configuration takes over from an instance. AWS: "Create a launch configuration using an EC2 instance"."""

from __future__ import annotations

from typing import Any

from gureum.aws.autoscaling.faults import invalid
from gureum.aws.call import Call
from gureum.aws.ec2.instances.kinds import Instance
from gureum.aws.ec2.interfaces.interfaces import interfaces_of


def find_model(call: Call, id_: str) -> Instance:
    """The instance to take after. AWS: ValidationError for none and for one that ends."""
    found = call.get(Instance, id_)
    if found is None or found.status.state in ("shutting-down", "terminated"):
        raise invalid(f"Instance [{id_}] is invalid.")
    return found


def taken_over(call: Call, instance: Instance) -> dict[str, Any]:
    """Parameters of CreateLaunchConfiguration. AWS: all but block devices, tags and load balancers. Of public addresses the subnet decides."""
    spec = instance.spec
    interfaces = interfaces_of(call, instance.meta.name)
    taken: dict[str, Any] = {
        "ImageId": spec.image,
        "InstanceType": spec.type,
        "KeyName": spec.key_name,
        "UserData": spec.user_data,
        "SecurityGroups": list(interfaces[0].spec.groups) if interfaces else [],
        "IamInstanceProfile": spec.profile_arn,
        "PlacementTenancy": spec.tenancy if spec.tenancy != "default" else "",
        "InstanceMonitoring": {"Enabled": spec.monitoring},
        "EbsOptimized": spec.ebs_optimized,
    }
    return {name: value for name, value in taken.items() if value not in ("", [])}
