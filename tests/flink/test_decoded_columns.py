"""The columns that the worker hands to Flink are those of the decoder, byte for byte."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd
import pyarrow as pa
import pytest
from pyflink.table.types import to_arrow_type
from pyflink.table.utils import pandas_to_arrow

from tests.unit.strategies import ARRIVAL_MS, decoder, raw_event
from udfs.decode.backlog import Backlog
from udfs.decode.decoder import DecodePolicy
from udfs.flink import DECODED, CatalogOptions, DecodeEvents, decoded_frame


def arrow(frame: pd.DataFrame) -> list[dict[str, object]]:
    """The rows as PyFlink's worker sends them."""
    schema = pa.schema([("decoded", to_arrow_type(DECODED))])
    rows: list[dict[str, object]] = pandas_to_arrow(schema, "UTC", [DECODED], [frame]).column(0).to_pylist()
    return rows


# As a fixed-width array of bytes NumPy would cut off the NUL bytes at the end.
@pytest.mark.parametrize("key", [b"\x00" * 16, b"k" * 15 + b"\x00", b"k" * 16])
def test_keys_keep_all_their_bytes(key: bytes) -> None:
    frame = decoded_frame([key, None], ["m", None], [False, True], [None, "r"])

    assert arrow(frame) == [
        {"dedupe_key": key, "measurements": "m", "backlog": False, "reject": None},
        {"dedupe_key": None, "measurements": None, "backlog": True, "reject": "r"},
    ]


@pytest.mark.parametrize("rows", [0, 1])
def test_a_batch_may_have_no_row_or_one(rows: int) -> None:
    frame = decoded_frame([b"k"] * rows, ["m"] * rows, [True] * rows, [None] * rows)

    assert len(arrow(frame)) == len(frame) == rows


def test_a_batch_goes_in_and_out_in_its_order_and_a_null_value_is_a_dead_letter() -> None:
    function = DecodeEvents(DecodePolicy("usage.events", 1, 1), CatalogOptions("", 1, 1, 1))
    totals = {name: Total() for name in ("_rejected", "_partly", "_accepted")}
    reasons: defaultdict[str, Total] = defaultdict(Total)
    vars(function).update(_decoder=decoder(), _pace=Unlimited(), _dead_letters=reasons, **totals)
    vars(function)["_backlog"] = Backlog(None)
    values = [raw_event(), None, raw_event(event_type="refund", quantity=-1)]
    arrivals = pd.Series(pd.to_datetime([ARRIVAL_MS] * 3, unit="ms"))

    rows = arrow(function.eval(pd.Series(values, dtype=object), arrivals, pd.Series([0] * 3), pd.Series([5, 6, 7])))

    batch = decoder().decode_batch(values, [ARRIVAL_MS] * 3, [0] * 3, [5, 6, 7])
    columns = (batch.keys, batch.measurements, [False] * 3, batch.rejects)
    assert [tuple(row.values()) for row in rows] == list(zip(*columns, strict=True))
    assert [row["dedupe_key"] is None for row in rows] == [False, True, False]
    assert {reason: total.count for reason, total in reasons.items()} == {"empty_value": 1}
    assert (totals["_accepted"].count, totals["_rejected"].count, totals["_partly"].count) == (2, 1, 0)


class Total:
    """A counter of Flink."""

    count = 0

    def inc(self, count: int) -> None:
        self.count += count


class Unlimited:
    """A pace without a bound."""

    def take(self, count: int) -> None:
        assert count == 3
