"""The generated stream: repeatable, complete, and classified by the oracle as it was constructed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator

import pytest
from msgspec import UNSET

from tests.streams import CATALOG, GRACE_MS, HISTORY, Expected, StreamRecord, expected_of, generate
from tidemark.oracle.oracle import Oracle
from udfs.events.parse import Event, event_time_ms, parse
from udfs.events.reasons import Reason

# What a stream cannot be made to cause.
NEVER = {"internal_error"}


@pytest.fixture(scope="module")
def records() -> list[StreamRecord]:
    return generate(6_000)


@pytest.fixture(scope="module")
def oracle(records: list[StreamRecord]) -> Iterator[Oracle]:
    offsets: Counter[int] = Counter()
    raw = []
    for record in records:
        raw.append((record.partition, offsets[record.partition], record.timestamp_ms, record.value))
        offsets[record.partition] += 1
    with Oracle(CATALOG, raw) as built:
        yield built


def event_of(record: StreamRecord) -> Event:
    return parse(record.value, "", record.timestamp_ms)


def test_the_same_seed_makes_the_same_stream(records: list[StreamRecord]) -> None:
    assert generate(6_000) == records
    assert generate(6_000, seed=2) != records


def test_every_reason_is_there(records: list[StreamRecord]) -> None:
    assert {reason.value for reason in Reason} - NEVER == {
        reason for record in records for reason in (record.reason, *record.partial) if reason
    }


def test_every_aggregation_is_in_its_catalog() -> None:
    meters = [*CATALOG["meters"].values(), *CATALOG["tenants"]["globex"]["meters"].values()]
    assert {meter["aggregation"] for meter in meters} == {
        "count", "sum", "min", "max", "avg", "latest", "unique", "percentile", "weighted_sum",
    }  # fmt: skip
    assert {meter.get("on_missing") for meter in meters} == {None, "skip", "reject"}
    assert max(len(meter.get("group_by", [])) for meter in meters) == 8


def test_events_come_in_every_form(records: list[StreamRecord]) -> None:
    events = [event_of(record) for record in records if record.reason is None]
    forms = Counter((type(event).__name__, event.schema_version, bool(event.source)) for event in events)
    assert min(forms["CloudEvent", UNSET, True], forms["Event", 2, True], forms["Event", 2, False]) > 20
    # Without a time of its own an event happened when it arrived.
    assert any(b'"specversion"' in r.value and b'"time"' not in r.value for r in records if r.value and not r.reason)


def test_one_id_of_two_sources_is_two_events(records: list[StreamRecord]) -> None:
    sources: dict[tuple[str, str], set[str]] = {}
    for tenant, source, event_id, void in filter(None, (record.identity for record in records)):
        if not void:
            sources.setdefault((tenant, event_id), set()).add(source)
    assert max(map(len, sources.values())) == 2


def test_a_parsed_event_is_what_its_identity_says(records: list[StreamRecord]) -> None:
    for record in records:
        if record.identity is not None:
            event = event_of(record)
            voids = event.voids or ""
            assert record.identity == (
                event.tenant_id, event.source or "", voids or event.event_id, "void" if voids else "",
            )  # fmt: skip


def test_duplicates_are_inside_and_across_partitions(records: list[StreamRecord]) -> None:
    for kind in ("", "void"):
        partitions: dict[object, list[int]] = {}
        for record in records:
            if record.identity and record.identity[3] == kind:
                partitions.setdefault(record.identity, []).append(record.partition)
        repeated = [copies for copies in partitions.values() if len(copies) > 1]
        assert any(len(set(copies)) == 1 for copies in repeated)
        assert any(len(set(copies)) > 1 for copies in repeated)


def test_voids_come_before_and_after_what_they_take_back_and_too_late(records: list[StreamRecord]) -> None:
    first = {}
    for place, record in enumerate(records):
        if record.identity is not None:
            first.setdefault(record.identity, place)
    voids = {i: place for i, place in first.items() if i[3]}
    originals = {i: first.get((*i[:3], "")) for i in voids}
    assert any(original is not None and original < voids[i] for i, original in originals.items())
    assert any(original is not None and original > voids[i] for i, original in originals.items())
    assert any(r.reason == "too_late" and b'"voids"' in (r.value or b"") for r in records)


def test_copies_of_one_void_in_different_partitions_say_the_same(records: list[StreamRecord]) -> None:
    contents: dict[object, set[object]] = {}
    for record in records:
        if record.identity and record.identity[3] and record.value:
            event = json.loads(record.value)
            fields = {name: field for name, field in event.items() if name not in {"event_id", "id"}}
            contents.setdefault(record.identity, set()).add(json.dumps(fields))
    assert {len(versions) for versions in contents.values()} == {1}


def test_what_is_not_rejected_is_not_too_late(records: list[StreamRecord]) -> None:
    for record in records:
        if record.reason is None and record.value is not None:
            event_ms = event_time_ms(event_of(record))
            assert -300_000 <= record.timestamp_ms - event_ms <= GRACE_MS


def test_expectations_add_up(records: list[StreamRecord]) -> None:
    expected = expected_of(records)
    assert expected.offsets_in == expected.counted + expected.duplicates + sum(expected.rejected.values())
    assert 0 < expected.unmeasured < expected.counted
    assert 0 < len(expected.without_original) < expected.voids
    assert 0 < len(expected.with_other_values) < expected.voids


def test_the_outcome_of_a_few_records_is_known_by_hand() -> None:
    def record(identity: tuple[str, str, str, str] | None, reason: str | None = None, **more: bool) -> StreamRecord:
        return StreamRecord(0, 0, None, b"", reason, (), identity, **more)

    # a: sent twice, taken back with other values.  b: taken back twice, never sent.  One too late, one unmeasured.
    a, b, c = ("t", "s", "a", ""), ("t", "s", "b", "void"), ("t", "s", "c", "")
    void = ("t", "s", "a", "void")
    records = [
        record(a), record(b), record(void, altered=True), record(a), record(None, "too_late"), record(b),
        record(c, unmeasured=True),
    ]  # fmt: skip
    assert expected_of(records) == Expected(7, 4, 2, {"too_late": 1}, 1, 2, frozenset("b"), frozenset("a"))


def test_partial_refusals_are_those_of_the_first_of_each_event() -> None:
    records = [StreamRecord(0, 0, None, b"", None, ("wrong_type",) * 2, ("t", "s", name, "")) for name in "aab"]
    assert expected_of(records).partial == {"wrong_type": 4}


def test_the_history_changes_calendars_on_a_whole_minute_inside_the_span() -> None:
    before, after = HISTORY
    assert (before["valid_from"], after["valid_from"]) == ("beginning", "2024-03-17T12:34:00Z")
    alice = [step["catalog"]["tenants"]["acme"]["customers"]["alice"]["calendar"] for step in HISTORY]
    assert alice == ["new-york-31st", "berlin-30th"]
    assert before["catalog"] == CATALOG


def test_the_oracle_knows_what_single_meters_refuse(records: list[StreamRecord], oracle: Oracle) -> None:
    assert oracle.counts().partial == expected_of(records).partial


def test_the_oracle_judges_every_record_as_it_was_made(records: list[StreamRecord], oracle: Oracle) -> None:
    outcomes, offsets, wrong = oracle.outcomes(), Counter(), []
    for record in records:
        outcome = outcomes[record.partition, offsets[record.partition]]
        offsets[record.partition] += 1
        accepted = outcome in {"counted", "duplicate"}
        if record.reason != (None if accepted else outcome):
            wrong.append((record.reason, outcome, record.value))
    assert wrong == []


def test_the_oracle_counts_as_expected_by_construction(records: list[StreamRecord], oracle: Oracle) -> None:
    expected, counts = expected_of(records), oracle.counts()
    assert (counts.offsets_in, counts.counted, counts.duplicates, counts.rejected) == (
        expected.offsets_in, expected.counted, expected.duplicates, expected.rejected,
    )  # fmt: skip
