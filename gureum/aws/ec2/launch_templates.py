"""Launch templates and their versions. AWS: ec2 CreateLaunchTemplate …"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.ec2.ids import not_built


def merge_launch_template(call: Call) -> dict[str, Any]:
    """The call's parameters laid over those of the launch template it names."""
    if call.params.get("LaunchTemplate"):
        raise not_built("RunInstances with LaunchTemplate")
    return call.params
