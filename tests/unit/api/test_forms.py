"""Forms of an answer: what is asked for, and Arrow with exact decimals."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest

from tidemark.api.arrow import stream_of
from tidemark.api.forms import MEDIA_TYPES, chosen
from tidemark.api.problem import Problem

ARROW = MEDIA_TYPES["arrow"]
ABOUT = {"meter": "calls", "aggregation": "sum", "unit": "calls", "grain": "hour", "zone": None, "next": None}
ROW = {"start": "2024-03-01T00:00:00Z", "customer_id": "a", "dims": {"region": "eu"}, "samples": 1, "n": 2}


@pytest.mark.parametrize(
    ("accept", "asked", "form"),
    [
        ("", None, "json"), ("*/*", None, "json"), (ARROW, None, "arrow"), (f"{ARROW};q=0.5, text/csv", None, "csv"),
        ("application/json, text/csv", None, "json"), (ARROW, "csv", "csv"), (f"{ARROW};q=0, */*", None, "json"),
        ("TEXT/CSV; charset=utf-8", None, "csv"), ("image/png", None, "json"), ("text/csv;q=x", None, "csv"),
    ],
)  # fmt: skip
def test_a_parameter_decides_and_else_accept(accept, asked, form):
    assert chosen(accept, asked, {"csv", "arrow"}) == form


def test_a_form_that_a_route_does_not_have_is_passed_over():
    assert chosen(f"{ARROW}, text/csv;q=0.1", None, {"csv"}) == "csv"


def read(rows: list[dict[str, object]], groups: list[str], *, dates: bool = False, **about: str) -> pa.Table:
    return pa.ipc.open_stream(stream_of(ABOUT | about | {"rows": rows}, groups, dates=dates).content).read_all()


def test_arrow_has_every_digit():
    value = "123456789012345678901234567.123456789"
    table = read([{**ROW, "value": value}, {**ROW, "value": "-0.000000001"}], ["region", "customer_id"])
    assert table.column("value").to_pylist() == [Decimal(value), Decimal("-0.000000001")]
    assert table.column_names == ["start", "customer_id", "dims.region", "value", "samples", "n"]
    assert table.column("start").to_pylist()[0] == datetime(2024, 3, 1, tzinfo=UTC)
    assert table.schema.metadata[b"unit"] == b"calls"


def test_arrow_of_no_rows_has_the_same_columns_and_days_are_dates():
    day = read([{**ROW, "start": "2024-03-01", "value": "1"}], ["region"], dates=True)
    assert read([], ["region"], dates=True).schema == day.schema
    assert day.column("start").to_pylist() == [date(2024, 3, 1)]
    median = read([{**ROW, "value": "0.123456789012345678"}], [], aggregation="percentile")
    assert median.column("value").to_pylist() == [Decimal("0.123456789012345678")]


def test_a_value_beyond_the_column_is_refused_and_never_rounded():
    for value in ("1" + "0" * 29, "0.1234567891"):
        with pytest.raises(Problem) as refused:
            read([{**ROW, "value": value}], [])
        assert refused.value.code == "invalid_parameter"
