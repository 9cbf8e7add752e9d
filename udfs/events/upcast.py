"""Versions of the native event, and how one becomes the next: readers know the latest alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Fields = Mapping[str, Any]


def _one_to_two(fields: Fields) -> Fields:
    """Version 2 made `source` part of what identifies an event; before, it was a field of a producer's own."""
    return {name: value for name, value in fields.items() if name != "source"}


_STEPS: dict[int, Callable[[Fields], Fields]] = {1: _one_to_two}
LATEST_VERSION = 2
VERSIONS = frozenset({*_STEPS, LATEST_VERSION})
# What an event without `schema_version` is.
DEFAULT_VERSION = 1


def upcast(fields: Fields, version: int) -> Fields:
    """Fields of an event of a known version as the latest version has them; `schema_version` says so afterwards."""
    while version != LATEST_VERSION:
        fields = _STEPS[version](fields)
        version += 1
    return {**fields, "schema_version": version}
