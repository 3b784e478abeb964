"""Configurations of images as older versions may have stored them, and layers that images share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gureum.docker.images.config import config_of, container_words, time_of
from gureum.docker.kinds import Image, ImageSpec, Layer
from gureum.docker.sizes import of_layers
from gureum.engine.resource import Meta


def _image(config: str, **more: Any) -> Image:
    return Image(meta=Meta("local", "sha256:1", "1", 0.0), spec=ImageSpec(config, "sha256:2", (), **more))


@pytest.mark.parametrize(
    "config", ["", "[", "null", "[1]", "7", '{"config": []}', '{"history": [7]}', '{"created": 7}']
)
def test_one_that_cannot_be_understood_says_nothing(config: str) -> None:
    assert config_of(_image(config)) == {}
    assert container_words(_image(config)) == {}


def test_what_gureum_does_not_know_is_shown_too() -> None:
    config = {"os": "linux", "variant": "v8", "config": {"Labels": None}, "history": [None]}
    assert config_of(_image(json.dumps(config))) == {**config, "history": [{}]}


def test_a_time_that_is_none_is_the_beginning_of_time() -> None:
    assert (time_of(""), time_of("yesterday"), time_of("1970-01-01T00:01:00Z")) == (0.0, 0.0, 60.0)


def test_layers_of_an_image_of_an_older_version_count_as_they_came() -> None:
    old = Image(meta=Meta("local", "sha256:1", "1", 0.0), spec=ImageSpec("{}", "", (Layer("sha256:3", 5, ""),)))
    assert of_layers(old) == (5,)
