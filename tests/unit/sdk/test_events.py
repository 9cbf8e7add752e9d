"""Events as they are recorded: ids that sort and never meet, values that are right at the call, bytes the job reads."""

from __future__ import annotations

import json
import re
import threading
import tomllib
import uuid
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import tidemark_client
from tests.unit.sdk.recorder_parts import AT_NS, recorded
from tidemark_client.events import ids
from tidemark_client.events.checks import amount, check_id, frozen, instant_ns, positive
from tidemark_client.events.event import MAX_EVENT_BYTES, SDK, Recorded, encoded, rfc3339
from udfs.events.fields import checked_id, event_time_ms, quantity_of
from udfs.events.parse import MAX_EVENT_BYTES as READ_BYTES
from udfs.events.parse import parse
from udfs.events.reasons import Rejected

ROOT = Path(__file__).parents[3]


def test_an_id_is_a_uuid_of_version_7_with_the_time_of_the_call() -> None:
    tick, random_bits, at_ns = ids.Ids().next()
    made = uuid.UUID(ids.text(tick, random_bits))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == at_ns // 1_000_000
    assert str(made) == ids.text(tick, random_bits)


def test_ids_rise_strictly_in_every_thread_and_none_is_made_twice() -> None:
    source = ids.Ids()
    made: list[list[str]] = [[] for _ in range(4)]

    def make(mine: list[str]) -> None:
        mine.extend(ids.text(*source.next()[:2]) for _ in range(2_000))

    threads = [threading.Thread(target=make, args=(mine,)) for mine in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(mine == sorted(mine) for mine in made)
    assert len({one for mine in made for one in mine}) == 8_000


def test_ids_rise_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    source = ids.Ids()
    hour_ns, now_ns = 3_600 * 10**9, AT_NS
    made = []
    for offset_ns in (0, 0, -hour_ns, -hour_ns, hour_ns):
        monkeypatch.setattr(ids.time, "time_ns", lambda at=now_ns + offset_ns: at)
        tick, random_bits, at_ns = source.next()
        # The event has the time that the clock says, all the same.
        assert at_ns == now_ns + offset_ns
        made.append(ids.text(tick, random_bits))
    assert made == sorted(set(made))


def test_the_job_reads_what_is_recorded() -> None:
    use = Recorded(5, 6, AT_NS, "tokens", "c-7", "2.5", {"model": "large", "stream": True, "n": None}, voids="e-1")
    sent = encoded(use, "acme", "checkout")
    event = parse(sent.body)
    assert (event.event_id, event.tenant_id, event.customer_id, event.event_type) == (
        use.id, "acme", "c-7", "tokens",
    )  # fmt: skip
    assert (event.source, event.voids, event.schema_version) == ("checkout", "e-1", 2)
    assert (event_time_ms(event), quantity_of(event)) == (AT_NS // 1_000_000, "2.5")
    assert json.loads(sent.body)["properties"] == {"model": "large", "stream": True, "n": None}
    assert json.loads(sent.body)["sdk"] == f"tidemark-python/{tidemark_client.__version__}"


def test_without_a_source_or_properties_the_event_has_neither() -> None:
    fields = json.loads(encoded(recorded(), "acme", None).body)
    assert not {"source", "voids", "properties"} & set(fields)
    assert quantity_of(parse(encoded(recorded(), "acme", None).body)) == "1"


def test_the_version_in_events_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "sdk" / "python" / "pyproject.toml").read_text())["project"]
    assert project["version"] == tidemark_client.__version__


def test_an_event_is_as_large_as_the_job_reads_and_no_larger() -> None:
    assert MAX_EVENT_BYTES == READ_BYTES
    with pytest.raises(ValueError, match="the limit is 65536"):
        encoded(recorded()._replace(properties={"text": "x" * MAX_EVENT_BYTES}), "acme", None)


@given(st.integers(0, 4_102_444_799_999_999))
def test_an_instant_is_written_to_the_microsecond_and_read_as_the_same(us: int) -> None:
    written = rfc3339(us * 1_000)
    assert datetime.fromisoformat(written) == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)


@given(st.text(max_size=80) | st.text("äx\u0000\u2028\u202e", max_size=300))
def test_an_id_is_refused_at_the_call_where_the_job_refuses_it(value: str) -> None:
    try:
        checked_id("customer", value)
        value.encode()
        refused = False
    except (Rejected, UnicodeEncodeError):
        refused = True
    if refused:
        with pytest.raises(ValueError, match="customer"):
            check_id("customer", value)
    else:
        check_id("customer", value)


@pytest.mark.parametrize("value", [None, 5, b"c", "\ud800", "x" * 257])
def test_what_is_no_id_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="customer"):
        check_id("customer", value)


@pytest.mark.parametrize(
    ("given_quantity", "kept"),
    [(5, 5), (-5, -5), (0.1, "0.1"), (1e-7, "1E-7"), (Decimal("1.50"), "1.50"), ("2.5", "2.5"), ("1e3", "1E+3")],
)
def test_a_quantity_is_kept_exactly_and_read_so(given_quantity: Any, kept: Any) -> None:
    assert amount(given_quantity) == kept
    sent = encoded(recorded()._replace(quantity=kept), "acme", None)
    assert Decimal(quantity_of(parse(sent.body))) == Decimal(str(given_quantity))


@pytest.mark.parametrize(
    "quantity", [True, None, "x", "", float("nan"), float("inf"), Decimal("NaN"), 10**18, -(10**18), "1e18", [1]]
)
def test_what_is_no_quantity_is_refused(quantity: Any) -> None:
    with pytest.raises(ValueError, match="quantity is"):
        amount(quantity)


def test_a_quantity_has_at_most_256_characters_however_it_is_written() -> None:
    assert amount("0." + "1" * 254 + " " * 1_000) == "0." + "1" * 254
    with pytest.raises(ValueError, match="quantity has 257 characters"):
        amount("0." + "1" * 255)


def test_properties_are_those_of_the_call_whatever_happens_to_them_later() -> None:
    tags = ["a"]
    copied = frozen({"tags": tags, "price": Decimal("1.10"), "at": datetime(2024, 3, 5, tzinfo=UTC)})
    tags.append("b")
    assert copied == {"tags": ["a"], "price": "1.10", "at": "2024-03-05T00:00:00+00:00"}


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"x", Decimal("NaN"), datetime(2024, 1, 1)])  # noqa: DTZ001
def test_a_property_that_is_no_json_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="properties are no JSON"):
        frozen({"value": value})


def test_more_properties_than_the_job_reads_are_refused() -> None:
    frozen(dict.fromkeys(map(str, range(256))))
    with pytest.raises(ValueError, match="257 properties"):
        frozen(dict.fromkeys(map(str, range(257))))


def test_an_instant_of_the_caller_has_a_zone() -> None:
    assert instant_ns(datetime(1970, 1, 1, 2, 0, 1, 5, tzinfo=timezone(timedelta(hours=2)))) == 1_000_005_000
    for wrong in (datetime(2024, 1, 1), datetime(1969, 12, 31, tzinfo=UTC)):  # noqa: DTZ001
        with pytest.raises(ValueError, match="at is"):
            instant_ns(wrong)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf")])
def test_a_setting_is_above_zero(value: float) -> None:
    with pytest.raises(ValueError, match=re.escape("linger_s is")):
        positive("linger_s", value)


@pytest.mark.parametrize("value", ['"other/2.0"', "5", "null", '{"name":"x"}', "[1]"])
def test_the_job_reads_an_event_whatever_its_sdk_says_and_says_it_once(value: str) -> None:
    body = encoded(recorded(), "acme", "checkout").body.replace(f'"{SDK}"'.encode(), value.encode())
    assert parse(body).source == "checkout"
    with pytest.raises(Rejected) as refused:
        parse(body.replace(b'"sdk":', b'"sdk":1,"sdk":'))
    assert refused.value.reason == "duplicate_key"
