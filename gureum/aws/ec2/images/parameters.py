"""The account's own Systems Manager parameters, which may name images ("resolve:ssm:NAME").

Systems Manager stands on EC2's kinds, so its own are read here by their keys alone: what of them is not loaded does not exist.
"""

from __future__ import annotations

from typing import Any

from gureum.aws.call import Call
from gureum.aws.logs.kinds import key_name
from gureum.base.numerals import natural
from gureum.engine.resource import make_key


def parameter_value(call: Call, text: str) -> str | None:
    """The value of the account's own parameter "name", "name:version" or "name:label"; None when there is none, or it is a secret."""
    name, _, selector = text.partition(":")
    parameter: Any = call.client.by_key(make_key("ssm.Parameter", call.scope, key_name(name)))
    if parameter is None or 0 < parameter.spec.expires <= call.now:
        return None
    number = parameter.spec.latest
    if selector:
        version_number = natural(selector)
        number = parameter.spec.labels.get(selector, 0) if version_number is None else version_number
    version: Any = call.client.by_key(make_key("ssm.ParameterVersion", call.scope, key_name(name, str(number))))
    return None if version is None or version.spec.type == "SecureString" else str(version.spec.value)
