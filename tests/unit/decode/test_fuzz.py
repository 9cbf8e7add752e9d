"""Decode under fuzz: whatever the bytes, each row is accepted or rejected, never both, never neither, never a crash."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit import strategies as own
from tests.unit.strategies import ARRIVAL_MS, DAY_MS, FUTURE_TOLERANCE_MS, GRACE_MS, MINUTE_MS, decoded, decoder, event
from udfs.decode.decoder import KEY_BYTES, DecodedBatch
from udfs.events.dead_letter import from_json, unpack_records
from udfs.events.parse import MAX_EVENT_BYTES
from udfs.events.reasons import Reason
from udfs.meters.meter import MAX_DIMS_BYTES, UNMEASURED
from udfs.meters.packing import Packed, unpack

# One for all examples: what it remembers from one must not change the next.
DECODER = decoder()
METERS = {"volume", "calls", "by_dest", "paid", "distance", "rare", "grouped", UNMEASURED} | {
    one.meter for one in own.readings()
}
GROUPS = ({"dest", "tier"}, {"deep.dest", "region"})
FIELDS = (
    "event_id", "tenant_id", "customer_id", "event_type", "timestamp", "quantity", "properties", "resource_id",
    "user_id", "session_id", "region", "schema_version", "source", "voids", "unknown",
)  # fmt: skip
SPLICES = st.sampled_from(
    [b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\\u0000", b"\\ud800", b"\\u0022", b"\0", b"\xff", b"\xc3",
     b"NaN", b"null", b"1e400", b"-", b'"event_id":"x",', b'"quantity":1,', b'"quantit\\u0079":1,', b"[" * 100, b"\n",
     b".9999999", b"9" * 50, b'{"a":1,"a":2}', b"\xed\xa0\x80", b"\xef\xbb\xbf"]
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A good event, then up to three blows to its bytes."""
    document = draw(own.good_events)
    raw = bytearray(json.dumps(document, ensure_ascii=draw(st.booleans())).encode())
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, max(len(raw) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "splice", "drop", "double", "random"])):
            case "flip" if raw:
                raw[at] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del raw[at:]
            case "splice":
                raw[at:at] = draw(SPLICES)
            case "drop":
                del raw[at : at + draw(st.integers(1, 10))]
            case "double":
                raw[at:at] = raw[at : at + draw(st.integers(1, 40))]
            case _:
                raw[at:at] = draw(st.binary(max_size=8))
    return bytes(raw)


@st.composite
def replaced(draw: st.DrawFn) -> bytes:
    """A good event with some fields set to any JSON value, or left out."""
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), own.json_values | st.just(...), max_size=3))
    return json.dumps(event(**fields), ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass")


raws = st.one_of(
    mutated(),
    replaced(),
    st.none(),
    st.binary(max_size=60),
    own.json_values.map(lambda value: json.dumps(value).encode()),
)
arrivals = st.one_of(
    st.just(ARRIVAL_MS),
    st.integers(-(2**63), 2**63 - 1),
    st.sampled_from([-GRACE_MS, GRACE_MS, FUTURE_TOLERANCE_MS]).map(lambda step: ARRIVAL_MS + step),
)


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(st.lists(st.tuples(raws, arrivals), max_size=4))
@example([(json.dumps(event(event_id="\ud800")).encode(), ARRIVAL_MS)])
@example([(b"[" * MAX_EVENT_BYTES, ARRIVAL_MS), (b'{"a":' * 10_000, -(2**63))])
@example([(json.dumps(event(timestamp="9999-12-31T23:59:59.9999999Z")).encode(), ARRIVAL_MS)])
@example([(json.dumps(event(schema_version=1.0)).encode(), ARRIVAL_MS)])
def test_every_row_is_accepted_or_rejected(rows: list[tuple[bytes | None, int]]) -> None:
    count = len(rows)
    batch = DECODER.decode_batch(
        [raw for raw, _ in rows], [arrival for _, arrival in rows], [0] * count, range(7, 7 + count)
    )
    assert [len(column) for column in (batch.keys, batch.measurements, batch.rejects)] == [count] * 3
    for index, (raw, arrival_ms) in enumerate(rows):
        if batch.keys[index] is not None:
            check_accepted(batch, index, raw, arrival_ms)
        else:
            check_rejected(batch, index, raw)


def check_rejected(batch: DecodedBatch, index: int, raw: bytes | None) -> None:
    text = batch.rejects[index]
    assert text is not None
    assert (batch.keys[index], batch.measurements[index]) == (None, None)
    record = from_json(text)
    assert record.raw == raw
    assert (record.topic, record.partition, record.offset) == ("usage.events", 0, 7 + index)
    assert Reason(record.reason) != Reason.INTERNAL_ERROR
    assert record.detail.isprintable()
    if record.reason in (Reason.MALFORMED_JSON, Reason.TRUNCATED_JSON, Reason.INVALID_UTF8):
        assert strict_json(raw or b"") is None


def check_accepted(batch: DecodedBatch, index: int, raw: bytes | None, arrival_ms: int) -> None:
    key, text = batch.keys[index], batch.measurements[index]
    assert key is not None
    assert len(key) == KEY_BYTES
    assert text is not None
    for record in unpack_records(batch.rejects[index]) if batch.rejects[index] else []:
        assert (record.raw, record.partial, record.meter in METERS) == (raw, True, True)
        assert Reason(record.reason) != Reason.INTERNAL_ERROR
    document = strict_json(raw or b"")
    assert document is not None
    assert not has_repeated_key(raw or b"")
    measurements = unpack(text)
    for one in measurements:
        check_measurement(one, document, arrival_ms)
    names = [(one.meter, one.part) for one in measurements]
    assert names == sorted(set(names))


def check_measurement(one: Packed, document: dict[str, Any], arrival_ms: int) -> None:
    assert (one.tenant, one.customer) == (document["tenant_id"], document["customer_id"])
    assert one.meter in METERS
    assert not one.dims or (set(json.loads(one.dims)) in GROUPS and len(one.dims.encode()) <= MAX_DIMS_BYTES)
    assert re.fullmatch(r"-?\d{1,25}(\.\d{1,9})?", one.amount)
    assert one.part == "m" or abs(Decimal(one.amount)) < 10**18
    assert one.samples in ([1] if document.get("voids") is None else [-1, 0])
    assert one.minute_ms % MINUTE_MS == 0
    assert one.period_start_ms <= one.minute_ms < one.period_end_ms
    assert arrival_ms - GRACE_MS - MINUTE_MS < one.minute_ms <= arrival_ms + FUTURE_TOLERANCE_MS
    assert abs(own.ms_of(f"{one.day}T00:00:00Z") - one.minute_ms) <= 2 * DAY_MS


def strict_json(raw: bytes) -> Any:
    """The result of Python's own parser in strict mode; None if it refuses the bytes."""
    try:
        return json.loads(raw.decode(), parse_constant=refuse)
    except ValueError:
        return None


def refuse(literal: str) -> None:
    raise ValueError(literal)


def has_repeated_key(raw: bytes) -> bool:
    found = []
    json.loads(raw, object_pairs_hook=lambda pairs: found.append(len(dict(pairs)) != len(pairs)))
    return any(found)


@given(own.good_events, st.randoms(use_true_random=False), st.booleans(), st.booleans(), own.json_values)
def test_writing_an_event_another_way_changes_nothing(
    document: dict[str, Any], shuffle: Any, ascii_only: bool, wide: bool, more: Any
) -> None:
    names = list(document)
    shuffle.shuffle(names)
    other = {name: document[name] for name in names}
    plain = json.dumps(document).encode()
    again = json.dumps(other, ensure_ascii=ascii_only, indent=1 if wide else None).encode()
    assert decoded([plain]).rejects == [None]
    assert decoded([plain], by=DECODER) == decoded([again], by=DECODER) == decoded([plain])
    noted = json.dumps({**other, "note": more, "nested": {"event_id": {"event_id": 1}}}).encode()
    outcome = decoded([noted], by=DECODER)
    # A NUL, half a pair or NaN in the note is a reason; nothing else about an unknown field is.
    assert outcome == decoded([plain], by=DECODER) or re.search(rb"\\u0000|\\ud[89a-f]|NaN|Infinity", noted)


@given(st.lists(raws, max_size=5), st.randoms(use_true_random=False))
def test_an_outcome_does_not_depend_on_earlier_events(rows: list[bytes | None], shuffle: Any) -> None:
    def outcomes(by: own.Decoder, order: list[bytes | None]) -> dict[bytes | None, Any]:
        batch = decoded(order, by=by)
        reasons = [None if text is None else [one.reason for one in unpack_records(text)] for text in batch.rejects]
        return {raw: (batch.measurements[i], reasons[i]) for i, raw in enumerate(order)}

    order = list(rows)
    shuffle.shuffle(order)
    assert outcomes(DECODER, rows) == outcomes(decoder(), order)
