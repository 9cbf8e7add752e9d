"""The slow path: what it costs grows with the event, however its keys and values are laid out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from udfs.events import diagnosis
from udfs.events.parse import parse
from udfs.events.reasons import Reason, Rejected


def pieces(place: Any) -> list[str]:
    return [place] if isinstance(place, str) else [*pieces(place[0]), *pieces(place[1])]


def test_a_long_key_is_not_copied_for_each_string_below_it() -> None:
    key = "k" * 32_000
    places = [place for place, _ in diagnosis._strings({key: ["", "", ""]}, ("", "$"))]
    long = [piece for place in places for piece in pieces(place) if len(piece) >= len(key)]
    assert len(long) == 3
    assert all(piece is key for piece in long)


@pytest.mark.parametrize(
    ("properties", "where"),
    [
        ({"a": {"b": ["x", "\0"]}}, "$.properties.a.b[1]"),
        ({"a": {"b\0": 1}}, "a key of $.properties.a"),
        ({"a": [[{"c": "\0"}]]}, "$.properties.a[0][0].c"),
    ],
)
def test_the_place_of_a_bad_string_is_named(properties: dict[str, Any], where: str) -> None:
    event = {"event_id": "e", "tenant_id": "t", "customer_id": "c", "event_type": "x", "timestamp": "x"}
    with pytest.raises(Rejected) as rejected:
        parse(json.dumps({**event, "properties": properties}).encode(), "", 0)
    assert rejected.value.reason == Reason.NUL_CHARACTER
    assert rejected.value.detail.startswith(f"{where} holds")
