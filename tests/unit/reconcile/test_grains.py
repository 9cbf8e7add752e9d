"""Which differences between grains last: what is seen once, between two writes of a row, is not counted."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from unittest.mock import patch

import pytest

from tidemark.reconcile import grains
from tidemark.reconcile.findings import Finding, Outcome
from tidemark.reconcile.sample import Wanted

LASTING = Finding({"customer_id": "a"}, "total 5", "total 4", Decimal(-1))


@pytest.mark.parametrize("transient_from", [1, 2])
def test_another_row_between_two_writes_in_each_snapshot_is_no_difference(transient_from: int) -> None:
    numbers = count(1)

    def once(*_: object) -> Outcome:
        number = next(numbers)
        passing = Finding({"customer_id": f"b{number}"}, "total 1", "total 0", Decimal(-1))
        found = [LASTING, *([passing] if number >= transient_from else [])]
        return Outcome(100, found, len(found))

    with patch.object(grains, "_compare_once", once), patch.object(grains, "_POLL_S", 0.001):
        outcome = grains.check(None, [], Wanted(), Decimal(0), 0.02)  # type: ignore[arg-type]
    assert (outcome.findings, outcome.differing) == ([LASTING], 1)
