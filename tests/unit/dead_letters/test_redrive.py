"""Redriving dead letters: repairs of JSON, the outcome of each in a plan, and the comparison with the redrive topic."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidemark.core.errors import UsageError
from tidemark.core.kafka import Record
from tidemark.dead_letters.fixes import Edit, Fixes, Unfixable, parse_fixes, read_object, write_object
from tidemark.dead_letters.log import HEADER, Marker, RedriveLog, Source, collecting_rejected, marker_of
from tidemark.dead_letters.plan import Item, Outcome, Plan, Rules, make_plan
from tidemark.dead_letters.records import DeadLetter, Position
from tidemark.dead_letters.validate import Validator
from udfs.catalog.cache import Catalog
from udfs.catalog.model import InMemoryCatalogSource, Tenant
from udfs.decode.decoder import DecodePolicy
from udfs.events.dead_letter import DlqRecord, to_json
from udfs.events.envelope import Envelope, unwrap, wrap
from udfs.meters.meter import Meter
from udfs.values import rfc3339

HOUR_MS = 3_600_000
GRACE_MS, WINDOW_MS = 48 * HOUR_MS, 24 * HOUR_MS
EVENT_MS = 1_709_630_262_250
ARRIVAL_MS = EVENT_MS + 1_500
# Rejected three days ago, and still in the window.
NOW_MS = EVENT_MS + GRACE_MS + WINDOW_MS
TOPIC, REDRIVE = "usage.events", "usage.events.redrive"
POLICY = DecodePolicy(TOPIC, GRACE_MS, 300_000, redrive_topic=REDRIVE)


def event(**fields: Any) -> dict[str, Any]:
    """An event that is counted, with fields set otherwise; `...` leaves one out."""
    document = {
        "event_id": "e-1", "tenant_id": "acme", "customer_id": "alice", "event_type": "call",
        "timestamp": rfc3339(EVENT_MS), "quantity": 2, **fields,
    }  # fmt: skip
    return {name: value for name, value in document.items() if value is not ...}


def dead_letter(raw: bytes | dict[str, Any] | None, offset: int = 0, **changed: Any) -> DeadLetter:
    """A dead letter as it is listed; its own offset is that of the event + 100."""
    value = json.dumps(raw).encode() if isinstance(raw, dict) else raw
    record = DlqRecord(
        reason="unknown_event_type", detail="", raw=value, topic=TOPIC, partition=0, offset=offset,
        arrival=rfc3339(ARRIVAL_MS),
    )  # fmt: skip
    return {"at": f"0:{offset + 100}", **json.loads(to_json(record)), **changed}


def redriven(value: bytes, offset: int, origin: Source | None = None, timestamp_ms: int = ARRIVAL_MS) -> Record:
    """A record of the redrive topic."""
    headers: tuple[tuple[str, bytes], ...] = ()
    if origin is not None:
        marker = Marker(origin.topic, origin.partition, origin.offset, origin, Source("usage.dlq", 0, 0), "now")
        headers = ((HEADER, msgspec.json.encode(marker)),)
    return Record(0, offset, timestamp_ms, b"acme/alice", value, headers)


def validator() -> Validator:
    """Two meters count calls, one counts charges and allows nothing negative."""
    meters = [Meter("calls", ("call",), "count"), Meter("seconds", ("call",), "sum"), Meter("paid", ("charge",), "sum")]
    return Validator(Catalog(InMemoryCatalogSource([Tenant("acme")], meters), float("inf"), 100), POLICY)


def plan(
    dead_letters: Sequence[DeadLetter],
    fixes: Fixes | None = None,
    log: RedriveLog | None = None,
    now_ms: int = NOW_MS,
    force: bool = False,
) -> Plan:
    rules = Rules(GRACE_MS, WINDOW_MS)
    return make_plan(
        dead_letters, log or RedriveLog(REDRIVE), validator(), rules, fixes or Fixes(), force=force, now_ms=now_ms
    )


def only(made: Plan) -> Item:
    assert len(made.items) == 1
    return made.items[0]


# --- repairs


def fixed(document: str, **texts: Sequence[str]) -> str:
    parsed = read_object(document.encode())
    parse_fixes(**texts).apply(parsed)
    return write_object(parsed).decode()


@pytest.mark.parametrize(
    ("texts", "before", "after"),
    [
        ({"sets": ["a=1"]}, '{"a":2}', '{"a":1}'),
        ({"sets": ["a=1"]}, "{}", '{"a":1}'),
        ({"sets": ["p.q.r=null"]}, '{"p":{"x":1}}', '{"p":{"x":1,"q":{"r":null}}}'),
        ({"sets": ["p.q=1"]}, '{"p":null}', '{"p":{"q":1}}'),
        ({"sets": [r"p.a\.b=1"]}, '{"p":{}}', '{"p":{"a.b":1}}'),
        ({"sets": [r"a\=b=1"]}, "{}", '{"a=b":1}'),
        ({"sets": ['a="x=y"']}, "{}", '{"a":"x=y"}'),
        ({"defaults": ["a=1"]}, '{"a":2}', '{"a":2}'),
        ({"defaults": ["a=1"]}, '{"a":null}', '{"a":1}'),
        ({"defaults": ["a=1"]}, '{"a":false}', '{"a":false}'),
        ({"defaults": ["p.a=1"]}, "{}", '{"p":{"a":1}}'),
        ({"renames": ["a=b"]}, '{"a":1,"c":2}', '{"c":2,"b":1}'),
        ({"renames": ["a=p.b"]}, '{"a":1}', '{"p":{"b":1}}'),
        ({"renames": ["a=b"]}, '{"c":2}', '{"c":2}'),
        ({"renames": ["a=b"]}, '{"a":1,"b":null}', '{"b":1}'),
        # Renames come first, then defaults, then sets, whatever their order on the command line.
        ({"sets": ["c=3"], "renames": ["a=b"], "defaults": ["b=2", "c=2"]}, '{"a":1}', '{"b":1,"c":3}'),
    ],
)
def test_a_repair_changes_the_field_it_names(texts: dict[str, Sequence[str]], before: str, after: str) -> None:
    assert fixed(before, **texts) == after


@pytest.mark.parametrize(
    ("texts", "document"),
    [
        ({"renames": ["a=b"]}, '{"a":1,"b":2}'),
        ({"sets": ["p.q=1"]}, '{"p":"text"}'),
        ({"defaults": ["p.q=1"]}, '{"p":[1]}'),
        ({"renames": ["a=p.q"]}, '{"a":1,"p":5}'),
    ],
)
def test_a_repair_never_overwrites_another_field(texts: dict[str, Sequence[str]], document: str) -> None:
    with pytest.raises(Unfixable) as caught:
        fixed(document, **texts)
    assert caught.value.code == "fix_conflict"


@pytest.mark.parametrize(
    "texts",
    [
        {"sets": ["a"]}, {"sets": ["a=text"]}, {"sets": ["=1"]}, {"sets": ["a..b=1"]}, {"sets": ['a={"x":1,"x":2}']},
        {"defaults": ["a="]}, {"renames": ["a"]}, {"renames": ["a="]}, {"renames": ["a=a"]}, {"renames": ["a=a.b"]},
        {"renames": ["a.b=a"]},
    ],
)  # fmt: skip
def test_a_repair_that_cannot_be_meant_is_a_wrong_call(texts: dict[str, Sequence[str]]) -> None:
    with pytest.raises(UsageError):
        parse_fixes(**texts)


def test_text_without_quotes_is_pointed_out() -> None:
    with pytest.raises(UsageError, match='"text"'):
        parse_fixes(sets=["a=text"])


def test_the_edits_say_what_was_and_what_is() -> None:
    document = read_object(b'{"a":1.50,"n":null}')
    edits = parse_fixes(renames=["a=b"], defaults=["n=0"], sets=["b=1.50", "c=[]"]).apply(document)
    assert edits == [Edit("a", "1.50", None), Edit("b", None, "1.50"), Edit("n", "null", "0"), Edit("c", None, "[]")]


def test_one_event_never_gets_what_a_repair_put_into_another() -> None:
    fixes = parse_fixes(defaults=["properties={}", "properties.model=[]"])
    first, second = read_object(b"{}"), read_object(b'{"properties":{}}')
    fixes.apply(first)
    first["properties"]["model"].append("seen")
    fixes.apply(second)
    assert second == {"properties": {"model": []}}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=[]), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4), st.booleans())
def test_what_is_written_again_says_the_same(document: dict[str, Any], escaped: bool) -> None:
    try:
        text = json.dumps(document, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        text = json.dumps(document).encode()
    assert json.loads(write_object(read_object(text))) == document


def test_numbers_stay_as_they_were_written() -> None:
    text = '{"a":1.50,"b":1E400,"c":0.1000000000000000055,"d":123456789012345678901234567890,"e":-0,"f":NaN}'
    assert write_object(read_object(text.encode())).decode() == text


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (None, "no_value"), (b"", "no_json_object"), (b"nonsense", "no_json_object"), (b'{"a":1', "no_json_object"),
        (b"[]", "no_json_object"), (b'"a"', "no_json_object"), (b"null", "no_json_object"), (b"7", "no_json_object"),
        (b'{"a":"\xff"}', "no_json_object"), (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"p":{"a":1,"a":2}}', "duplicate_key"), (b'{"a":' * 100_000, "no_json_object"),
    ],
)  # fmt: skip
def test_what_is_no_object_is_never_sent(raw: bytes | None, code: str) -> None:
    for force in (False, True):
        item = only(plan([dead_letter(raw)], parse_fixes(sets=["a=1"]), force=force))
        assert (item.outcome, item.code) == (Outcome.REFUSED, code)


# --- what the plan decides


def test_an_event_that_would_be_counted_now_is_sent_byte_for_byte_with_its_arrival_and_owner() -> None:
    raw = json.dumps(event(), indent=2).encode()
    item = only(plan([dead_letter(raw)]))
    assert (item.outcome, item.value, item.arrival_ms, item.key) == (Outcome.SEND, raw, ARRIVAL_MS, b"acme/alice")
    assert item.meters == ("calls", "seconds")


def test_an_event_that_would_be_rejected_again_is_refused_with_the_reason_it_would_get() -> None:
    item = only(plan([dead_letter(event(event_type="other"))]))
    assert (item.outcome, item.code) == (Outcome.REFUSED, "still_rejected")
    assert item.detail.startswith("unknown_event_type: ")


def test_a_repair_makes_it_count() -> None:
    item = only(plan([dead_letter(event(event_type="other"))], parse_fixes(sets=['event_type="charge"'])))
    assert (item.outcome, item.meters) == (Outcome.SEND, ("paid",))
    assert json.loads(item.value) == event(event_type="charge")
    assert not item.new_identity


def test_nan_can_be_repaired() -> None:
    raw = json.dumps(event(quantity=float("nan"))).encode()
    assert only(plan([dead_letter(raw)])).code == "still_rejected"
    assert only(plan([dead_letter(raw)], parse_fixes(sets=["quantity=1"]))).outcome is Outcome.SEND


def test_force_sends_what_would_be_rejected_again_and_says_so() -> None:
    made = plan([dead_letter(event(event_type="other"))], force=True)
    assert (only(made).outcome, only(made).code) == (Outcome.SEND, "still_rejected")
    assert any("--force" in text for text in made.warnings())


def test_force_does_not_send_an_event_without_a_time() -> None:
    for timestamp in ("soon", ..., "1969-12-31T23:59:59Z"):
        item = only(plan([dead_letter(event(timestamp=timestamp))], force=True))
        assert (item.outcome, item.code) == (Outcome.REFUSED, "no_event_time")


def test_lateness_is_decided_by_the_original_arrival_and_not_by_the_clock() -> None:
    # Arrived in time, long ago by now ...
    assert only(plan([dead_letter(event())], now_ms=EVENT_MS + GRACE_MS + HOUR_MS)).outcome is Outcome.SEND
    # ... and too late, however early it is redriven.
    late = dead_letter(event(), arrival=rfc3339(EVENT_MS + GRACE_MS + 1))
    item = only(plan([late], now_ms=EVENT_MS))
    assert (item.outcome, item.code) == (Outcome.REFUSED, "still_rejected")
    assert item.detail.startswith("too_late")


def test_an_event_from_the_future_arrives_at_its_event_time_where_that_is_asked_for() -> None:
    # The clock of the broker was an hour behind.
    early = dead_letter(event(), arrival=rfc3339(EVENT_MS - HOUR_MS))
    assert only(plan([early])).detail.startswith("in_future")
    item = only(plan([early], parse_fixes(by_event_time=True)))
    assert (item.outcome, item.arrival_ms, item.value) == (Outcome.SEND, EVENT_MS, json.dumps(event()).encode())
    before, after = (json.dumps(rfc3339(at_ms)) for at_ms in (EVENT_MS - HOUR_MS, EVENT_MS))
    assert item.edits == [Edit("(arrival)", before, after)]
    # Others keep their arrival, and nothing arrives later than now.
    assert only(plan([dead_letter(event())], parse_fixes(by_event_time=True))).arrival_ms == ARRIVAL_MS
    assert only(plan([early], parse_fixes(by_event_time=True), now_ms=EVENT_MS - 1)).code == "still_rejected"


def test_the_window_ends_grace_and_window_after_the_event_time_to_the_millisecond() -> None:
    #   event ---- grace ----|---- window ----|
    #                                       NOW refused from here on
    assert only(plan([dead_letter(event())], now_ms=NOW_MS)).outcome is Outcome.SEND
    for force in (False, True):
        item = only(plan([dead_letter(event())], now_ms=NOW_MS + 1, force=force))
        assert (item.outcome, item.code) == (Outcome.REFUSED, "window_over")
        assert "replay" in item.detail


def test_a_new_event_time_does_not_lengthen_the_window_of_copies_that_carry_the_old_one() -> None:
    late = dead_letter(event(), arrival=rfc3339(EVENT_MS + GRACE_MS + HOUR_MS))
    fixes = parse_fixes(sets=[f'timestamp="{rfc3339(EVENT_MS + 2 * HOUR_MS)}"'])
    assert only(plan([late], fixes, now_ms=NOW_MS)).outcome is Outcome.SEND
    assert only(plan([late], fixes, now_ms=NOW_MS + 1)).code == "window_over"


def test_an_unknown_arrival_is_refused() -> None:
    for arrival in (None, rfc3339(-1)):
        item = only(plan([dead_letter(event(), arrival=arrival)], force=True))
        assert (item.outcome, item.code) == (Outcome.REFUSED, "no_arrival")


def test_copies_in_the_selection_are_sent_once_the_first_that_would_be_counted() -> None:
    dead_letters = [
        dead_letter(event(event_type="other"), 1),
        dead_letter(event(), 2),
        dead_letter(event(quantity=9), 3),
        dead_letter(event(event_id="e-2"), 4),
    ]
    made = plan(dead_letters)
    assert [item.outcome for item in made.items] == [Outcome.REFUSED, Outcome.SEND, Outcome.COPY, Outcome.SEND]
    assert made.refused_by() == {"still_rejected": 1}
    assert any("same" in item.detail for item in made.items if item.outcome is Outcome.COPY)


def test_one_that_is_sent_by_force_does_not_keep_back_a_copy_that_would_be_counted() -> None:
    made = plan(
        [dead_letter(event(event_type="other"), 1), dead_letter(event(), 2), dead_letter(event(), 3)], force=True
    )
    assert [item.outcome for item in made.items] == [Outcome.SEND, Outcome.SEND, Outcome.COPY]


def test_a_new_identity_is_pointed_out() -> None:
    made = plan([dead_letter(event())], parse_fixes(sets=['event_id="e-9"']))
    assert only(made).outcome is Outcome.SEND
    assert any("another identity" in text for text in made.warnings())
    # A first id makes no second event of it.
    assert plan([dead_letter(event(event_id=...))], parse_fixes(sets=['event_id="e-9"'])).warnings() == []


# --- the comparison with the redrive topic


def log_of(*records: Record, rejected: Sequence[Position] = ()) -> RedriveLog:
    log = RedriveLog(REDRIVE, rejected)
    for record in records:
        log.add(record)
    return log


RAW = json.dumps(event()).encode()


def test_an_event_in_the_redrive_topic_is_not_sent_again() -> None:
    log = log_of(redriven(RAW, 5, Source(TOPIC, 0, 0)))
    item = only(plan([dead_letter(event())], log=log))
    assert item.outcome is Outcome.ALREADY
    assert "0:5" in item.detail


def test_a_copy_of_an_event_in_the_redrive_topic_is_not_sent_either() -> None:
    # Another record of the same event, and a record without a header.
    assert (
        only(plan([dead_letter(event(), 7)], log=log_of(redriven(RAW, 5, Source(TOPIC, 0, 0))))).outcome
        is Outcome.ALREADY
    )
    assert only(plan([dead_letter(event(), 7)], log=log_of(redriven(RAW, 5)))).outcome is Outcome.ALREADY


def test_already_redriven_says_so_also_after_the_window() -> None:
    item = only(plan([dead_letter(event())], log=log_of(redriven(RAW, 5)), now_ms=NOW_MS + 10**9))
    assert item.outcome is Outcome.ALREADY


def test_a_void_and_the_event_it_takes_back_are_two_events() -> None:
    made = plan([dead_letter(event(event_id="v-1", voids="e-1"))], log=log_of(redriven(RAW, 5)))
    assert only(made).outcome is Outcome.SEND


def test_another_identity_does_not_get_the_same_record_counted_twice() -> None:
    log = log_of(redriven(json.dumps(event(event_id="a")).encode(), 5, Source(TOPIC, 0, 0)))
    assert only(plan([dead_letter(event())], parse_fixes(sets=['event_id="b"']), log)).outcome is Outcome.ALREADY


def test_what_was_rejected_again_may_be_sent_again_from_either_dead_letter() -> None:
    # Given an event that was redriven and became a dead letter of the redrive topic
    first = dead_letter(event())
    again = dead_letter(event(), 5, topic=REDRIVE)
    log = log_of(redriven(RAW, 5, Source(TOPIC, 0, 0)), rejected=[Position(0, 5)])
    assert only(plan([first], log=log)).outcome is Outcome.SEND
    assert only(plan([again], log=log)).outcome is Outcome.SEND
    assert log.failures(Source(TOPIC, 0, 0)) == log.failures(Source(REDRIVE, 0, 5)) == [Position(0, 5)]
    # When it is redriven from the second, with another identity, then neither is sent again.
    log.add(redriven(json.dumps(event(event_id="b")).encode(), 6, log.origin_of(Source(REDRIVE, 0, 5))))
    assert [item.outcome for item in plan([first, again], log=log).items] == [Outcome.ALREADY, Outcome.ALREADY]


def test_a_dead_letter_that_somebody_else_put_into_the_redrive_topic_is_its_own_origin() -> None:
    log = log_of(redriven(RAW, 5), rejected=[Position(0, 5)])
    assert log.origin_of(Source(REDRIVE, 0, 5)) == Source(REDRIVE, 0, 5)
    assert only(plan([dead_letter(event(), 5, topic=REDRIVE)], log=log)).outcome is Outcome.SEND


def test_positions_that_were_rejected_in_the_redrive_topic_are_collected() -> None:
    rejected: set[Position] = set()
    dead_letters = [dead_letter(event(), 1), dead_letter(event(), 2, topic=REDRIVE)]
    assert list(collecting_rejected(dead_letters, REDRIVE, rejected)) == dead_letters
    assert rejected == {Position(0, 2)}


def test_a_header_of_somebody_else_is_passed_over() -> None:
    log = log_of(Record(0, 5, ARRIVAL_MS, None, RAW, ((HEADER, b"not json"), ("other", b""))))
    # Kafka has headers without a value; any client sends them.
    assert marker_of(Record(0, 6, ARRIVAL_MS, None, RAW, ((HEADER, None),))) is None
    assert only(plan([dead_letter(event())], log=log)).outcome is Outcome.ALREADY


def test_redriving_again_and_again_sends_an_event_once() -> None:
    dead_letters = [dead_letter(event(event_id=f"e-{n % 3}"), n) for n in range(7)]
    log, sent = RedriveLog(REDRIVE), []
    for _ in range(3):
        made = plan(dead_letters, log=log)
        for item in made.sends:
            source = Source(item.dead_letter["topic"], item.dead_letter["partition"], item.dead_letter["offset"])
            log.add(redriven(item.value, len(sent), source))
            sent.append(base64.b64encode(item.value))
    assert len(sent) == len(set(sent)) == 3


def test_cloud_events_are_known_by_their_own_identity() -> None:
    cloud = {
        "specversion": "1.0", "id": "c-1", "source": "/meter/1", "subject": "alice", "type": "call",
        "time": rfc3339(EVENT_MS), "tenantid": "acme",
    }  # fmt: skip
    item = only(plan([dead_letter(cloud)]))
    assert (item.outcome, item.key) == (Outcome.SEND, b"acme/alice")
    assert only(plan([dead_letter(cloud, 3)], log=log_of(redriven(item.value, 1)))).outcome is Outcome.ALREADY
    assert only(plan([dead_letter(cloud)], parse_fixes(sets=['source="/meter/2"']))).new_identity


# --- what one meter is missing


def partial(raw: bytes | dict[str, Any], offset: int = 0, **changed: Any) -> DeadLetter:
    """A dead letter of a charge that `paid` refused and other meters counted."""
    return dead_letter(raw, offset, **{"reason": "negative_quantity", "meter": "paid", "partial": True, **changed})


CHARGE = event(event_type="charge", quantity=-3)
CHARGED = parse_fixes(sets=["quantity=3"])


def sent_again(item: Item, offset: int, origin: Source | None = None) -> Record:
    """The record of the redrive topic that an item becomes."""
    return redriven(item.record_value, offset, origin or Source(TOPIC, 0, 0))


def test_what_a_meter_is_missing_is_sent_in_an_envelope_with_the_bytes_before_the_repair() -> None:
    first = partial(CHARGE)
    item = only(plan([first], CHARGED))
    assert (item.outcome, item.meters, item.key) == (Outcome.SEND, ("paid",), b"acme/alice")
    envelope = unwrap(item.record_value)
    assert envelope == Envelope("paid", "", item.value, json.dumps(CHARGE).encode())
    assert json.loads(item.value) == CHARGE | {"quantity": 3}
    # Without a repair the envelope holds the bytes once.
    unrepaired = unwrap(only(plan([partial(event(event_type="charge"))])).record_value)
    assert unrepaired == Envelope("paid", "", json.dumps(event(event_type="charge")).encode())


def test_only_its_meter_validates_the_event() -> None:
    # `calls` and `seconds` take it; `paid` takes no calls any more.
    item = only(plan([partial(event())]))
    assert (item.outcome, item.code) == (Outcome.REFUSED, "still_rejected")
    assert "meter paid does not take" in item.detail
    assert only(plan([partial(CHARGE)])).detail.startswith("negative_quantity: ")


def test_what_its_meter_leaves_out_by_now_is_not_sent() -> None:
    meters = [Meter("size", ("call",), "sum", value="size", on_missing="skip")]
    of_size = Validator(Catalog(InMemoryCatalogSource([Tenant("acme")], meters), float("inf"), 100), POLICY)
    rules, log = Rules(GRACE_MS, WINDOW_MS), RedriveLog(REDRIVE)
    made = make_plan([partial(event(), meter="size")], log, of_size, rules, Fixes(), force=True, now_ms=NOW_MS)
    assert (only(made).outcome, only(made).code) == (Outcome.REFUSED, "nothing_to_add")


@pytest.mark.parametrize("fix", ['event_id="other"', 'source="/s"', 'tenant_id="other"'])
def test_what_others_have_counted_keeps_its_identity(fix: str) -> None:
    item = only(plan([partial(CHARGE)], parse_fixes(sets=["quantity=3", fix]), force=True))
    assert (item.outcome, item.code) == (Outcome.REFUSED, "fix_conflict")


def test_meters_of_one_event_are_redriven_each_for_itself_and_once() -> None:
    refusals = [partial(event(), meter=meter) for meter in ("calls", "seconds")]
    made = plan([*refusals, refusals[0]])
    assert [item.outcome for item in made.items] == [Outcome.SEND, Outcome.SEND, Outcome.COPY]
    log = log_of(sent_again(made.sends[0], 5))
    assert [item.outcome for item in plan(refusals, log=log).items] == [Outcome.ALREADY, Outcome.SEND]
    # The event itself was not redriven.
    assert only(plan([dead_letter(event(), 7)], log=log)).outcome is Outcome.SEND


def test_what_a_run_is_missing_may_be_counted_by_another() -> None:
    log = log_of(sent_again(only(plan([partial(CHARGE)], CHARGED)), 5))
    assert only(plan([partial(CHARGE)], CHARGED, log)).outcome is Outcome.ALREADY
    log.run_id = "replay"
    assert only(plan([partial(CHARGE)], CHARGED, log)).outcome is Outcome.SEND


def test_a_redriven_event_that_one_meter_refuses_was_not_rejected_there() -> None:
    rejected: set[Position] = set()
    again = partial(CHARGE, 5, topic=REDRIVE)
    assert list(collecting_rejected([again], REDRIVE, rejected)) == [again]
    assert rejected == set()
    log = log_of(redriven(json.dumps(CHARGE).encode(), 5, Source(TOPIC, 0, 0)))
    assert only(plan([dead_letter(CHARGE)], log=log)).outcome is Outcome.ALREADY
    assert only(plan([again], CHARGED, log)).outcome is Outcome.SEND


def test_an_envelope_that_was_rejected_again_is_repaired_inside() -> None:
    # Given a repair that repaired nothing, sent by force
    spoiled = only(plan([partial(CHARGE)], parse_fixes(sets=["quantity=-1"]), force=True))
    again = dead_letter(spoiled.record_value, 5, topic=REDRIVE, meter="paid")
    log = log_of(sent_again(spoiled, 5), rejected=[Position(0, 5)])
    assert log.failures(Source(TOPIC, 0, 0), log.part_of(partial(CHARGE))) == [Position(0, 5)]
    assert log.failures(Source(TOPIC, 0, 0)) == []
    for refusal in (partial(CHARGE), again):
        item = only(plan([refusal], CHARGED, log))
        assert (item.outcome, item.meters) == (Outcome.SEND, ("paid",))
        envelope = unwrap(item.record_value)
        assert envelope is not None
        assert envelope.original == json.dumps(CHARGE).encode()
    # When it is sent from the second, neither is sent again.
    log.add(sent_again(only(plan([again], CHARGED, log)), 6))
    assert [item.outcome for item in plan([partial(CHARGE), again], CHARGED, log).items] == [Outcome.ALREADY] * 2


def test_an_event_that_looks_like_an_envelope_is_not_sent_as_one() -> None:
    forged = wrap(Envelope("paid", "", json.dumps(event(event_type="charge")).encode()))
    item = only(plan([dead_letter(forged)], force=True))
    assert (item.outcome, item.code) == (Outcome.REFUSED, "no_json_object")
    # Neither with nothing behind the line.
    line = forged.partition(b"\n")[0] + b"\n"
    assert only(plan([dead_letter(line)], parse_fixes(sets=["a=1"]), force=True)).outcome is Outcome.REFUSED
