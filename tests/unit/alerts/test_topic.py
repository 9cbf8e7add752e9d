"""Reading a record of the alerts topic: what no table can hold is refused, what is odd but harmless is taken."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from tests.unit.alerts.alerting import JULY, an_alert
from tidemark.alerts.topic import MAX_NAME_BYTES, read
from udfs.alerts.event import AlertError, to_json


def test_an_alert_comes_back_as_it_was_sent() -> None:
    alert = an_alert()
    assert read(to_json(alert).encode()) == alert


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "no alert"),
        (b"{", "no alert"),
        (b"[]", "no alert"),
        (to_json(replace(an_alert(), id="")).encode(), "id is empty"),
        (to_json(replace(an_alert(), customer_id="x" * (MAX_NAME_BYTES + 1))).encode(), "customer_id is too long"),
        (to_json(replace(an_alert(), period_ms=(JULY[1], JULY[0]))).encode(), "ends before it begins"),
        (to_json(an_alert()).replace("c1 firing", "\\ud800").encode(), "surrogates not allowed"),
        # `json` reads half of a surrogate pair in bytes, as no encoder of UTF-8 writes it.
        (to_json(an_alert()).encode().replace(b"c1 firing", b"\xed\xa0\x80"), "can't decode"),
    ],
)
def test_what_no_table_can_hold_is_refused_with_the_reason(payload: bytes, why: str) -> None:
    with pytest.raises(AlertError, match=why):
        read(payload)


def test_a_nul_in_a_text_is_replaced_since_postgres_has_none() -> None:
    payload = to_json(replace(an_alert(), summary="a\0b")).encode()
    assert json.loads(payload)["data"]["summary"] == "a\0b"
    assert read(payload).summary == "a\ufffdb"
