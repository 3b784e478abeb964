"""The images that gureum brings along, by name. Adding one is a module with a `recipe` and a line here."""

from __future__ import annotations

import threading
from collections.abc import Mapping

from gureum.drivers.images import busybox_image, debian_image
from gureum.drivers.images.image_store import Recipe


def recipes(stopping: threading.Event) -> Mapping[str, Recipe]:
    """For ImageStore. What takes long ends when `stopping` is set."""
    return {"busybox": busybox_image.recipe(), "debian": debian_image.recipe(stopping)}
