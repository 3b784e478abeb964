"""XML writer: whatever users put into names and tags, the document stays well-formed and says the same."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from gureum.aws.protocols.xml_writer import escape, escape_attribute, join

NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
anything = st.text(st.characters(exclude_categories=()))


@given(st.lists(anything, min_size=1, max_size=5))
def test_text_survives(texts: list[str]) -> None:
    parts = ["<r>", "", ""]
    for text in texts:
        parts += ["<t>", text, "</t>"]
    root = ET.fromstring(join([*parts, "</r>", "", ""]))
    assert [element.text or "" for element in root] == [NOT_IN_XML.sub("\ufffd", text) for text in texts]


@given(anything)
def test_attribute_survives(text: str) -> None:
    root = ET.fromstring(f'<r a="{escape_attribute(text)}"/>')
    assert root.get("a") == NOT_IN_XML.sub("\ufffd", text)


def test_plain_text_is_left_alone() -> None:
    text = 'plain, "quoted", ünïcode \U0001f600\n\t'
    assert escape(text) == text
