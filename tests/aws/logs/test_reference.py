"""CloudWatch Logs held against its own reference: botocore's model of every operation that is built."""

from __future__ import annotations

import re
from pathlib import Path

import botocore.session

import gureum.aws.logs
from tests.aws.logs.conftest import _registry

MODEL = botocore.session.get_session().get_service_model("logs")
NAMED_NOWHERE = {
    "interleaved": "AWS: ignored since 2019",
    "sequenceToken": "AWS: ignored since 2023",
    "unmask": "no data protection policies are there, so nothing is masked",
    "name": "of a data source: no group has one",
    "type": "of a data source: no group has one",
}


def members(shape, depth=0):
    if shape is None or depth > 4:
        return set()
    if shape.type_name == "list":
        return members(shape.member, depth + 1)
    if shape.type_name != "structure":
        return set()
    return set(shape.members).union(*(members(one, depth + 1) for one in shape.members.values()))


def test_no_parameter_is_ignored_in_silence():
    """A parameter of the reference that no source names is one that has no effect, or one that was forgotten."""
    sources = "\n".join(path.read_text() for path in Path(gureum.aws.logs.__file__).parent.glob("*.py"))
    named = set(re.findall(r'"([A-Za-z0-9]+)"', sources)) | NAMED_NOWHERE.keys()
    built = [
        one.options["operation"] for one in _registry.marks("operation").values() if ".logs." in one.target.__module__
    ]
    found = set().union(*(members(MODEL.operation_model(name).input_shape) for name in built))
    # What an entity is made of is not looked at: it is refused as a whole.
    assert found - named - members(MODEL.operation_model("PutLogEvents").input_shape.members["entity"]) == set()
