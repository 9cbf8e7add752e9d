"""Packing measurements: the text is as its contract says, and nothing is lost on the way through it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import decoded, raw_event
from udfs.meters.packing import Packed, pack, stamped, unpack, unstamped

_dims = st.just("") | st.dictionaries(st.text(max_size=5), st.text(max_size=9), max_size=3).map(
    lambda one: json.dumps(one, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
)
_amounts = st.decimals(-(10**18), 10**18, places=9, allow_nan=False, allow_infinity=False).map(lambda d: format(d, "f"))
_latest = st.just("") | st.builds("{:015d}000300\x1f{}\x1f{}\x1f{}".format, own.instants, own.ids, own.ids, _amounts)
measurements = st.builds(
    Packed,
    amount=_amounts,
    samples=st.sampled_from([1, 1, -1, 0]),
    latest=_latest,
    tenant=own.ids,
    customer=own.ids,
    meter=own.ids,
    dims=_dims,
    part=st.sampled_from(["", "m", "bp-12", "b0", "u0123456789abcdef"]),
    minute_ms=own.instants,
    day=st.dates().map(lambda day: day.isoformat()),
    period_start_ms=own.instants,
    period_end_ms=own.instants,
)


@given(st.lists(measurements, min_size=1, max_size=4))
def test_what_was_packed_is_what_is_unpacked(given_ones: list[Packed]) -> None:
    assert unpack(pack(given_ones)) == given_ones


def test_the_text_of_a_plain_measurement_has_its_amount_and_its_series() -> None:
    one = Packed("2.5", 1, "", "acme", "alice", "calls", '{"a":"b"}', "", 60_000, "2024-03-05", 0, 10)
    assert pack([one]) == '2.5\x1eacme\x1falice\x1fcalls\x1f{"a":"b"}\x1f\x1f60000\x1f2024-03-05\x1f0\x1f10'


@pytest.mark.parametrize(("samples", "latest"), [(0, ""), (-1, ""), (1, "7\x1fs\x1fe\x1f2"), (2, "7\x1f\x1fe\x1f2")])
def test_samples_and_latest_follow_the_series_where_they_say_something(samples: int, latest: str) -> None:
    one = Packed("2.5", samples, latest, "a", "b", "c", "", "m", 1, "2024-03-05", 2, 3)
    assert (
        pack([one, one]).split("\x1d")
        == [f"2.5\x1ea\x1fb\x1fc\x1f\x1fm\x1f1\x1f2024-03-05\x1f2\x1f3\x1e{samples}\x1e{latest}"] * 2
    )


def test_a_stamp_that_comes_later_ends_in_its_place() -> None:
    texts = [unstamped("a", "b", "c", "1"), unstamped("a", "b", "d", "2", part="m", samples=-1)]
    found = unpack(stamped(texts, "5\x1fday\x1f6\x1f7"))
    assert [(one.meter, one.part, one.samples, one.minute_ms) for one in found] == [("c", "", 1, 5), ("d", "m", -1, 5)]


def test_the_decoder_writes_what_pack_writes() -> None:
    raws = [raw_event(), raw_event(event_type="reading"), raw_event(event_type="reading", voids="e-0")]
    for text in decoded(raws).measurements:
        assert text is not None
        assert pack(unpack(text)) == text


@pytest.mark.parametrize(
    "text", ["", "1", "1\x1ea\x1fb", "1\x1ea\x1fb\x1fc\x1fd\x1fe\x1f1\x1fday\x1f2\x1f3\x1e1\x1e\x1e"]
)
def test_any_other_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="fields are not a"):
        unpack(text)
