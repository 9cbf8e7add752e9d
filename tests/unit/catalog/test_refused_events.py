"""A plan warns of events that a new or changed meter can refuse, and of none that it could not take before either."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.unit.catalog.test_tool import OPEN_T, SUM, TERMS, wants
from tidemark.catalog.file import TABLES, Row
from tidemark.catalog.plan import plan
from tidemark.catalog.timeline import Version

COLUMNS = TABLES["meter"][1]


def meter(**changed: object) -> tuple[object, ...]:
    """A sum of the quantity that takes values below 0."""
    values = dict(zip(COLUMNS, SUM, strict=True)) | {"allow_negative": True} | changed
    return tuple(values[name] for name in COLUMNS)


def warned(new: tuple[object, ...], old: tuple[object, ...] | None = None, *, first: bool = False) -> str:
    stored = OPEN_T | {"meter": {} if old is None else {("t", "m"): (Version(old),)}}
    made = plan(wants(meter=[Row(("t", "m"), new, path="tenants.t.meters.m")]), stored, replace(TERMS, first=first))
    return "".join(note for note in made.warnings if "can refuse" in note)


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"value": "size"}, "without size"),
        ({"value": "size", "on_missing": "skip"}, "with size that is no number"),
        ({"allow_negative": False}, "with quantity below 0"),
        ({"aggregation": "weighted_sum"}, "10^12"),
        ({"group_by": ("region",)}, "group-by"),
        ({"aggregation": "unique", "value": "user"}, "without user"),
    ],
)
def test_a_new_meter_that_can_refuse_events_is_named_with_what_it_refuses(
    changed: dict[str, object], named: str
) -> None:
    warning = warned(meter(**changed))
    assert warning.startswith("meter t/m can refuse events: ")
    assert named in warning


@pytest.mark.parametrize("changed", [{}, {"aggregation": "count"}, {"aggregation": "count", "value": "x"}])
def test_a_meter_that_takes_everything_is_not(changed: dict[str, object]) -> None:
    assert warned(meter(**changed)) == ""


def test_a_change_warns_of_what_is_new_alone() -> None:
    old = meter(value="size")
    assert warned(meter(value="size", unit="other"), old) == ""
    assert warned(meter(value="size", allow_negative=False), old).count("with") == 1


def test_where_nothing_was_ever_counted_there_is_nothing_to_warn_of() -> None:
    assert warned(meter(value="size"), first=True) == ""
