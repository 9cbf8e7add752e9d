"""Counters of Redis as rows: keys and hashes are read back as they were written."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tidemark.reconcile.counters import FIELDS, ids, values
from tidemark_client.keys import counter_key

TEXTS = st.text(st.characters(codec="utf-8"), min_size=1)


@given(TEXTS, TEXTS, TEXTS)
def test_ids_come_back_from_a_key_whatever_they_hold(tenant: str, customer: str, meter: str) -> None:
    for prefix in ("usage:", "usage_trial:"):
        assert ids(prefix, counter_key(prefix, tenant, customer, meter)) == (tenant, customer, meter)


def test_fields_are_read_exactly_and_an_empty_one_is_missing() -> None:
    texts = ["1700000000000", "1702592000000", "3", "2", "12345678901234567890.000000001", "", None, "7 a"]
    assert values(texts) == (
        1_700_000_000_000, 1_702_592_000_000, 3, 2, Decimal("12345678901234567890.000000001"), None, None, "7 a",
    )  # fmt: skip
    assert list(FIELDS) == ["period_start", "period_end", "n", "samples", "total", "lo", "hi", "latest"]
