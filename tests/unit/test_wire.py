"""Layouts of packed columns: what one side packs the other unpacks, in Python and, by its text, in SQL and Lua."""

from __future__ import annotations

from typing import Any, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udfs import wire
from udfs.wire import CANDIDATE, LIVE_CHANGE, MEASUREMENT, SERIES, WATCHED_SERIES, Layout, LiveChange, Number, Series

LAYOUTS: list[Layout[Any]] = [value for value in vars(wire).values() if isinstance(value, Layout)]
_texts = st.text(st.characters(exclude_characters="\x1c\x1d\x1e\x1f ", exclude_categories=["Cs"]), max_size=9)
_integers = st.integers(-(10**18), 10**18)


def records(kind: Any) -> st.SearchStrategy[Any]:
    """Records of a NamedTuple; `Number` is any text, as it is in Python."""
    if hasattr(kind, "_fields"):
        return st.builds(kind, **{name: records(inner) for name, inner in get_type_hints(kind).items()})
    return _integers if kind is int else _texts


def packed(layout: Layout[Any], record: Any) -> str:
    fields = [
        packed(Layout(type(field), layout.separator), field) if hasattr(field, "_fields") else field for field in record
    ]
    return layout.pack(*fields)


@given(st.data())
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.record.__name__)
def test_what_is_packed_is_what_is_unpacked(layout: Layout[Any], data: st.DataObject) -> None:
    record = data.draw(records(layout.record))
    assert layout.unpack(packed(layout, record)) == record


@pytest.mark.parametrize(
    ("layout", "count"),
    [(SERIES, 8), (SERIES, 10), (MEASUREMENT, 1), (MEASUREMENT, 5), (LIVE_CHANGE, 10), (CANDIDATE, 5)],
)
def test_too_few_and_too_many_fields_are_refused(layout: Layout[Any], count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} fields are not a {layout.record.__name__}"):
        layout.unpack(layout.separator.join(["1"] * count))


def test_fields_with_a_default_may_be_missing() -> None:
    assert MEASUREMENT.unpack(MEASUREMENT.pack_required("2.5", "s")) == wire.Measurement(Number("2.5"), "s", 1, "")
    assert MEASUREMENT.split("1\x1es\x1d2\x1et\x1e-1\x1e") == [
        wire.Measurement(Number("1"), "s"), wire.Measurement(Number("2"), "t", -1),
    ]  # fmt: skip


def test_a_field_may_be_packed_with_the_layout_of_its_text() -> None:
    flat = MEASUREMENT.pack_required_with("series", SERIES)
    assert flat("2", "a", "b", "c", "d", "e", "f") == MEASUREMENT.pack_required("2", SERIES.pack(*"abcdef"))


def test_sql_finds_each_field_where_python_puts_it() -> None:
    columns = [line.strip() for line in SERIES.columns("series").split(",\n")]
    names = [column.rpartition(" AS ")[2] for column in columns]
    assert names == [
        "tenant_id", "customer_id", "meter", "dims", "part", "minute_ms", "local_day", "period_start_ms",
        "period_end_ms",
    ]  # fmt: skip
    assert [f"U&'\\001f', {place})" in column for place, column in enumerate(columns)] == [True] * len(names)
    assert columns[5] == "CAST(SPLIT_INDEX(series, U&'\\001f', 5) AS BIGINT) AS minute_ms"


def test_a_default_is_null_in_sql_or_else_takes_its_place() -> None:
    assert MEASUREMENT.column("latest", "m") == "NULLIF(SPLIT_INDEX(m, U&'\\001e', 3), '')"
    assert MEASUREMENT.column("samples", "m") == "COALESCE(CAST(SPLIT_INDEX(m, U&'\\001e', 2) AS BIGINT), 1)"
    assert MEASUREMENT.column("amount", "m") == "CAST(SPLIT_INDEX(m, U&'\\001e', 0) AS DECIMAL(38, 9))"


def test_sql_packs_every_column_as_text_and_leaves_no_null_out() -> None:
    sql = LIVE_CHANGE.packed()
    assert sql.startswith("CONCAT_WS(U&'\\001f', tenant_id, customer_id, meter, CAST(period_start_ms AS STRING), ")
    assert sql.endswith(
        ", dims, COALESCE(CAST(lo AS STRING), ''), COALESCE(CAST(hi AS STRING), ''), COALESCE(latest, ''))"
    )
    assert WATCHED_SERIES.packed(kind="'meter'", customer_id="''") == (
        "CONCAT_WS(U&'\\001f', 'meter', tenant_id, '', meter)"
    )


def test_only_the_last_field_may_hold_the_separator_and_only_where_the_layout_says_so() -> None:
    assert [layout.record for layout in LAYOUTS if layout.open_ended] == [LiveChange]
    with pytest.raises(ValueError, match="10 fields are not a Series"):
        SERIES.unpack("\x1f".join("0123456789"))
    assert Series._fields[-1] == "stamp"
