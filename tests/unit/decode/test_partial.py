"""One meter's refusal is its own: partial dead letters, and what is redriven for one meter alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.strategies import (
    ARRIVAL_MS,
    POLICY,
    accepted,
    decoded,
    decoder,
    meters_of,
    raw_event,
    refused,
    rejected,
)
from tidemark.dry_run.fold import GRAINS
from tidemark.dry_run.model import Model
from udfs.catalog.cache import Catalog
from udfs.catalog.model import InMemoryCatalogSource
from udfs.decode.decoder import DecodedBatch, Decoder, dedupe_key
from udfs.events.dead_letter import from_json, unpack_records
from udfs.events.envelope import Envelope, part_key, unwrap, wrap
from udfs.events.reasons import Reason
from udfs.meters.meter import UNMEASURED, Meter
from udfs.meters.packing import Packed, unpack

COUNT = Meter("count", ("call",), "count")
SIZE = Meter("size", ("call",), "sum", value="size")
BIG = '{"gt":9,"property":"size"}'


def sized(size: Any = ..., **fields: Any) -> bytes:
    return raw_event(properties={} if size is ... else {"size": size}, **fields)


# --- partial dead letters ---------------------------------------------------------------------------------------------


def test_an_event_counts_for_the_meters_that_take_it_and_has_a_dead_letter_for_each_that_does_not() -> None:
    by = decoder(
        meters_of(COUNT, SIZE, Meter("top", ("call",), "max", value="speed"), Meter("volume", ("call",), "sum"))
    )
    batch = decoded([sized(-1, quantity=2)], by=by)
    assert batch.keys == [dedupe_key("acme", "e-1")]
    assert [(one.meter, one.amount) for one in unpack(batch.measurements[0] or "")] == [("count", "1"), ("volume", "2")]
    records = unpack_records(batch.rejects[0] or "")
    assert [(one.meter, one.reason) for one in records] == [
        ("size", Reason.NEGATIVE_QUANTITY), ("top", Reason.MISSING_VALUE),
    ]  # fmt: skip
    for one in records:
        assert one.partial
        assert one.raw == sized(-1, quantity=2)
        assert (one.topic, one.partition, one.offset) == ("usage.events", 3, 100)
        assert (one.tenant_id, one.customer_id, one.event_id) == ("acme", "alice", "e-1")


def test_the_bytes_of_an_event_are_packed_once_however_many_meters_refuse_it() -> None:
    by = decoder(meters_of(COUNT, *(Meter(f"m{n}", ("call",), "sum", value="size") for n in range(20))))
    raw = raw_event(properties={"note": "x" * 30_000})
    text = decoded([raw], by=by).rejects[0] or ""
    assert len(text) < 50_000
    assert [one.raw for one in unpack_records(text)] == [raw] * 20


def test_an_event_that_no_meter_takes_is_one_whole_dead_letter_with_the_reason_of_the_first() -> None:
    record = rejected(sized(), by=decoder(meters_of(SIZE, Meter("weight", ("call",), "sum", value="weight"))))
    assert (record.reason, record.meter, record.partial) == (Reason.MISSING_VALUE, "size", False)
    assert record.detail.endswith("Refused by the meters size, weight.")


def test_a_meter_that_alone_refuses_an_event_that_others_exclude_is_named() -> None:
    by = decoder(meters_of(SIZE, replace(COUNT, filter=BIG), replace(SIZE, meter="skips", on_missing="skip")))
    record = rejected(sized(), by=by)
    assert (record.reason, record.meter, record.partial) == (Reason.MISSING_VALUE, "size", False)
    assert "Refused by" not in record.detail


def test_an_event_at_fault_itself_names_no_meter() -> None:
    record = rejected(raw_event(quantity="many"), by=decoder(meters_of(COUNT, SIZE)))
    assert (record.reason, record.meter, record.partial) == (Reason.INVALID_QUANTITY, None, False)


def test_a_meter_that_cannot_be_used_stops_itself_alone() -> None:
    by = decoder(meters_of(COUNT, replace(SIZE, filter="no filter")))
    (record,) = refused(sized(5), by=by)
    assert (record.meter, record.reason) == ("size", Reason.INTERNAL_ERROR)


def test_a_customer_without_a_period_makes_it_whole() -> None:
    record = rejected(raw_event(customer_id="dora", properties={"dest": []}))
    assert (record.reason, record.meter, record.partial) == (Reason.NO_PERIOD, None, False)


def test_a_void_is_refused_by_the_meter_that_refused_its_original() -> None:
    by = decoder(meters_of(COUNT, SIZE))
    (record,) = refused(sized(voids="e-1", event_id="v"), by=by)
    assert (record.meter, record.reason) == ("size", Reason.MISSING_VALUE)


def test_copies_of_an_event_have_its_partial_dead_letters_once() -> None:
    model = Model(meters_of(COUNT, SIZE), POLICY)
    model.feed([sized(), sized(), sized(7)], None, [0] * 3, range(3))
    assert (model.counts.counted, model.counts.duplicates) == (1, 2)
    assert (model.rejected(), model.partly_rejected()) == ({}, {"missing_value": 1})


# --- meters do not depend on each other -------------------------------------------------------------------------------

_meters = st.lists(
    st.builds(
        Meter,
        st.sampled_from("abcdef"),
        st.just(("call",)),
        st.sampled_from(["count", "sum", "max", "avg", "unique", "percentile", "weighted_sum"]),
        group_by=st.sampled_from([(), ("dest",)]),
        allow_negative=st.booleans(),
        value=st.sampled_from(["quantity", "size", "dest"]),
        on_missing=st.sampled_from(["reject", "skip"]),
        filter=st.sampled_from(["", BIG]),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda one: one.meter,
)
_values = st.sampled_from([..., None, 0, 5, -5, 10, "7", "x", [], {}, True, "y" * 1_100])


@st.composite
def _streams(draw: st.DrawFn) -> list[bytes]:
    """Events, copies of them that say the same, and voids."""
    raws = []
    for number in range(draw(st.integers(1, 5))):
        found = {"size": draw(_values), "dest": draw(_values)}
        more = {"voids": f"e-{draw(st.integers(0, 4))}"} if draw(st.booleans()) else {}
        properties = {name: value for name, value in found.items() if value is not ...}
        quantity = draw(st.sampled_from([..., 1, -2, "1.5", 10**13, "many"]))
        raws.append(raw_event(event_id=f"e-{number}", quantity=quantity, properties=properties, **more))
    return raws + draw(st.lists(st.sampled_from(raws), max_size=4))


def usage(meters: list[Meter], raws: list[bytes]) -> tuple[Counter[Any], Counter[Any]]:
    """All rows of all meters, and all that each of them refused, whole or in part."""
    model = Model(meters_of(*meters), POLICY)
    model.feed(raws, None, [0] * len(raws), range(len(raws)))
    rows = Counter(
        (grain, series, part, bucket, cell.n, cell.samples, cell.total, cell.lo, cell.hi, cell.latest)
        for grain in GRAINS
        for series, part, bucket, cell in model.fold.rows(grain)
        if series.meter != UNMEASURED
    )
    return rows, Counter((one.meter, one.reason) for one in model.rejections if one.partial)


def _without_voids_of_another_text(raws: list[bytes]) -> list[bytes]:
    """Voids of one event have one key whatever they say, so copies of them say the same here too."""
    said: dict[str, bytes] = {}
    return [
        said.setdefault(json.loads(raw).get("voids") or json.loads(raw)["event_id"] + " itself", raw) for raw in raws
    ]


@given(_meters, _streams())
def test_the_usage_of_a_meter_is_the_same_alone_and_in_any_company(meters: list[Meter], raws: list[bytes]) -> None:
    raws = _without_voids_of_another_text(raws)
    together, _ = usage(meters, raws)
    alone: Counter[Any] = Counter()
    for meter in meters:
        alone += usage([meter], raws)[0]
    assert together == alone


@given(_meters, _streams())
def test_every_refusal_of_a_meter_is_reported_once_an_event(meters: list[Meter], raws: list[bytes]) -> None:
    raws = _without_voids_of_another_text(raws)
    # A meter that takes everything makes all refusals partial; alone, each is a whole dead letter of the first copy.
    _, partial = usage([Meter("z", ("call",), "count"), *meters], raws)
    for meter in meters:
        by = decoder(meters_of(meter))
        first = dict.fromkeys(raws)
        records = [from_json(text) for text in decoded([*first], by=by).rejects if text]
        expected = Counter((one.meter, one.reason) for one in records if one.meter)
        assert Counter({key: n for key, n in partial.items() if key[0] == meter.meter}) == expected


# --- redriven for one meter alone -------------------------------------------------------------------------------------


def redriven(envelope: Envelope, by: Decoder, partition: int = -1) -> DecodedBatch:
    return by.decode_batch([wrap(envelope)], [ARRIVAL_MS], [partition], [8])


def run(source: InMemoryCatalogSource, run_id: str = "") -> Decoder:
    return Decoder(Catalog(source, 60.0, 1_000), replace(POLICY, run_id=run_id, redrive_topic="usage.events.redrive"))


def measured(batch: DecodedBatch) -> list[tuple[str, str]]:
    return [(one.meter, one.amount) for one in packed(batch)]


def packed(batch: DecodedBatch) -> list[Packed]:
    return unpack(batch.measurements[0]) if batch.measurements[0] else []


envelopes = st.builds(
    Envelope,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=9),
    st.binary(max_size=99),
    st.none() | st.binary(max_size=99),
)


@given(envelopes)
def test_an_envelope_is_what_was_wrapped(envelope: Envelope) -> None:
    assert unwrap(wrap(envelope)) == envelope


@given(envelopes)
def test_no_event_is_an_envelope(envelope: Envelope) -> None:
    """What a redrive sends without an envelope is a JSON object: nobody can get one into the topic by way of it."""
    value = wrap(envelope)
    if envelope.event.strip(b" \t\r\n"):
        with pytest.raises(json.JSONDecodeError):
            json.loads(value.decode("utf-8", "replace"))


def test_what_is_redriven_for_a_meter_counts_for_it_alone_under_a_key_of_its_own() -> None:
    batch = redriven(Envelope("size", "", sized(7)), run(meters_of(COUNT, SIZE)))
    assert measured(batch) == [("size", "7")]
    assert batch.keys == [part_key("size", dedupe_key("acme", "e-1"))]
    assert batch.keys[0] not in {dedupe_key("acme", "e-1"), part_key("count", dedupe_key("acme", "e-1"))}
    assert batch.rejects == [None]


def test_an_envelope_counts_by_the_events_own_time_and_arrival() -> None:
    (one,) = packed(redriven(Envelope("size", "", sized(7)), run(meters_of(COUNT, SIZE))))
    (same,) = accepted(sized(7), by=decoder(meters_of(SIZE)))
    assert one == same


def test_only_the_redrive_topic_is_read_so() -> None:
    batch = redriven(Envelope("size", "", sized(7)), run(meters_of(COUNT, SIZE)), partition=0)
    assert from_json(batch.rejects[0] or "").reason == Reason.MALFORMED_JSON


def test_what_its_meter_refuses_again_is_a_whole_dead_letter_that_keeps_the_envelope() -> None:
    envelope = Envelope("size", "", sized(-7), sized())
    record = from_json(redriven(envelope, run(meters_of(COUNT, SIZE))).rejects[0] or "")
    assert (record.reason, record.meter, record.partial) == (Reason.NEGATIVE_QUANTITY, "size", False)
    assert (record.topic, record.partition, record.offset) == ("usage.events.redrive", 0, 8)
    assert (record.event_id, unwrap(record.raw)) == ("e-1", envelope)


def test_a_meter_that_no_longer_takes_the_type_is_named() -> None:
    record = from_json(redriven(Envelope("size", "", sized(7)), run(meters_of(COUNT))).rejects[0] or "")
    assert (record.reason, record.meter) == (Reason.UNKNOWN_EVENT_TYPE, "size")
    record = from_json(redriven(Envelope("size", "", b"{"), run(meters_of(COUNT))).rejects[0] or "")
    assert (record.reason, record.meter) == (Reason.TRUNCATED_JSON, "size")


def test_a_run_counts_what_itself_refused_also_after_the_catalog_was_put_right() -> None:
    # Given that the meter takes the event by now, this run has refused it when it was sent.
    assert measured(redriven(Envelope("size", "", sized(7)), run(meters_of(COUNT, SIZE)))) == [("size", "7")]


def test_a_replay_counts_it_only_where_its_meter_refuses_the_event_there_too() -> None:
    # The catalog was put right: the replay has counted the event, by its own copy in the events topic.
    replay = run(meters_of(COUNT, SIZE), "replay")
    batch = redriven(Envelope("size", "", sized(7)), replay)
    assert (measured(batch), batch.rejects) == ([], [None])
    assert batch.keys[0] not in {None, part_key("size", dedupe_key("acme", "e-1")), dedupe_key("acme", "e-1")}
    # It was not, the event was repaired.
    repaired = Envelope("size", "", sized(7), sized())
    assert measured(redriven(repaired, replay)) == [("size", "7")]
    assert redriven(repaired, replay).keys == [part_key("size", dedupe_key("acme", "e-1"))]


def test_a_replay_counts_a_repaired_value_where_its_meter_skips_what_is_missing() -> None:
    replay = run(meters_of(COUNT, replace(SIZE, on_missing="skip")), "replay")
    assert measured(redriven(Envelope("size", "", sized(7), sized()), replay)) == [("size", "7")]


def test_an_envelope_of_which_its_meter_measures_nothing_adds_nothing() -> None:
    batch = redriven(Envelope("size", "", sized()), run(meters_of(COUNT, replace(SIZE, on_missing="skip"))))
    assert (batch.measurements, batch.rejects) == ([None], [None])
    assert batch.keys[0] not in {None, part_key("size", dedupe_key("acme", "e-1"))}


def test_a_void_is_redriven_for_one_meter_too() -> None:
    batch = redriven(Envelope("size", "", sized(7, voids="e-1", event_id="v")), run(meters_of(COUNT, SIZE)))
    assert measured(batch) == [("size", "-7")]
    assert batch.keys != redriven(Envelope("size", "", sized(7)), run(meters_of(COUNT, SIZE))).keys
