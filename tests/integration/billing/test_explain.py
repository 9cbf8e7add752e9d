"""Where a number is from, on real services: its events and their copies, the index of the deltas, one event's way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from psycopg import sql
from typer.testing import CliRunner

from jobs.flink.rest import wait_until
from tests.pipeline import Pipeline, pipeline
from tests.pulse import pulse
from tests.streams import StreamRecord
from tidemark.billing import close as ledger_close
from tidemark.billing import delta_index, explain, heartbeat
from tidemark.billing.lines import PeriodKey
from tidemark.billing.moments import moment
from tidemark.billing.trace import trace
from tidemark.billing.watermark import committed, reached
from tidemark.cli.main import app
from tidemark.core import postgres
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import Sender, dump, end_offsets
from tidemark.core.settings import Settings, flat, variable_of
from tidemark.dead_letters import tool as redrive
from tidemark.dead_letters.fixes import parse_fixes
from udfs.values import epoch_ms

START = datetime(2024, 3, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
CATALOG: dict[str, Any] = {
    "calendars": {
        "fifth": {"anchor": "2024-01-05T00:00:00", "interval": "P1M", "timezone": "America/New_York"},
    },
    "tenants": {
        "acme": {"customers": {"alice": None, "bob": {"calendar": "fifth"}, "carol": None}},
        "globex": {"customers": {"alice": None}},
        "beats": {
            "meters": {"heartbeats": {"event_types": [heartbeat.EVENT_TYPE], "aggregation": "count", "unit": "beats"}}
        },
    },
    "meters": {
        "calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls"},
        "bytes": {"event_types": ["call"], "aggregation": "sum", "unit": "B", "group_by": ["region"]},
        "users": {"event_types": ["call"], "aggregation": "unique", "unit": "users", "value": "user"},
        "storage": {"event_types": ["call"], "aggregation": "weighted_sum", "unit": "GB-hours", "value": "quantity"},
    },
}
EVENTS = 600
# After everything that is sent.
LAST = START + timedelta(minutes=EVENTS + 7)
MARCH = PeriodKey("acme", "alice", START, datetime(2024, 4, 1, tzinfo=UTC))


def event(number: int, customer: str = "alice", **fields: Any) -> dict[str, Any]:
    return {
        "event_id": f"e-{number}", "tenant_id": "acme", "customer_id": customer, "event_type": "call",
        "timestamp": (START + number * timedelta(minutes=1)).isoformat().replace("+00:00", "Z"),
        "quantity": str(number), "properties": {"region": ("eu", "us")[number % 2], "user": f"u{number % 7}"},
        **fields,
    }  # fmt: skip


def record(value: dict[str, Any], minutes: float, partition: int = 0) -> StreamRecord:
    arrival = epoch_ms(START + timedelta(minutes=minutes))
    return StreamRecord(partition=partition, timestamp_ms=arrival, key=b"x", value=json.dumps(value).encode())


def stream() -> list[StreamRecord]:
    """Events of two customers; of the first ten of alice copies come at once, later, and in another partition."""
    sent = [record(event(n, ("alice", "bob")[n % 3 == 2]), n + 0.1, n % 2) for n in range(EVENTS)]
    late = [record(event(n, ("alice", "bob")[n % 3 == 2]), EVENTS + 1 + n / 100, 1 - n % 2) for n in range(10)]
    soon = [record(event(0), 0.2, 0), record(event(0), 0.3, 1)]
    # The same id of another tenant, and of another source: other events.
    others = [
        record({**event(0), "tenant_id": "globex"}, EVENTS + 2),
        record({**event(0), "source": "eu-1", "schema_version": 2}, EVENTS + 3, 1),
    ]
    void = record({**event(4), "event_id": "v-5", "voids": "e-4"}, EVENTS + 4)
    bad = record({**event(EVENTS + 1), "quantity": "many"}, EVENTS + 5)
    # One meter refuses it, the others do not.
    partly = record({**event(EVENTS + 2, "carol"), "properties": {"region": "eu"}}, EVENTS + 5.5)
    unreadable = StreamRecord(0, epoch_ms(START + timedelta(minutes=EVENTS + 6)), b"x", b'{"event_id": "torn", "tena')
    return sorted([*sent, *late, *soon, *others, void, bad, partly, unreadable], key=lambda one: one.timestamp_ms)


@pytest.fixture(scope="module")
def run(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    changes = {
        "events.grace_s": 86_400, "meter.bounded_disorder_s": 0, "topics.partitions": 2, "heartbeat.tenant": "beats",
        "close.settle_s": 1, "rollup.checkpoint_interval_ms": 1_000, "rollup.minibatch_ms": 200,
        "rollup.customer_windows": False,
    }  # fmt: skip
    with pipeline(stack.settings, "explaining", CATALOG, tmp_path_factory.mktemp("explaining"), **changes) as made:
        made.start()
        made.send(stream())
        with pulse(made.settings, LAST):
            made.wait_offsets()
            # Everything is in the rollups; March is not over.
            ledger_close.close(made.settings, "test")
        yield made


def invoke(settings: Settings, *arguments: str) -> tuple[int, str]:
    """Exit code and stdout of `tidemark` with the settings of the run."""
    own = flat(settings.model_dump(mode="json"))
    named = (
        "run_id", "topics.events", "events.grace_s", "meter.bounded_disorder_s", "heartbeat.tenant", "close.settle_s",
    )  # fmt: skip
    done = CliRunner().invoke(app, arguments, env={variable_of(name): str(own[name]) for name in named})
    if isinstance(done.exception, TidemarkError):
        return done.exception.exit_code, str(done.exception)
    return done.exit_code, done.stdout


def rows(settings: Settings, table: str, columns: str) -> list[tuple[Any, ...]]:
    statement = sql.SQL(f"SELECT {columns} FROM {{}} ORDER BY 1, 2, 3, 4")
    with postgres.connect(settings.postgres) as connection:
        return connection.execute(statement.format(sql.Identifier(settings.names.billing_schema, table))).fetchall()


def position(settings: Settings) -> int:
    """How many offsets of the deltas the index has behind it."""
    return sum(row[3] for row in rows(settings, "delta_position", "deltas_topic, partition, topic_id, next_offset"))


def recounted(settings: Settings) -> dict[tuple[Any, ...], tuple[int, int, Decimal]]:
    """What the index has to hold: every committed delta added up by itself."""
    found: dict[tuple[Any, ...], tuple[int, int, Decimal]] = {}
    for one in dump(settings.kafka, settings.names.deltas):
        row = json.loads(one.value or b"", parse_float=Decimal)
        if row["part"] != "m":
            place = tuple(row[name] for name in ("customer_id", "dims", "meter", "tenant_id"))
            n, samples, total = found.get(place, (0, 0, Decimal(0)))
            found[place] = n + row["n"], samples + row["samples"], total + Decimal(row["total"])
    return found


def indexed(settings: Settings) -> dict[tuple[Any, ...], tuple[int, int, Decimal]]:
    columns = "customer_id, dims, meter, tenant_id, n, samples, total"
    found: dict[tuple[Any, ...], tuple[int, int, Decimal]] = {}
    for *place, n, samples, total in rows(settings, "delta_range", columns):
        before = found.get(tuple(place), (0, 0, Decimal(0)))
        found[tuple(place)] = before[0] + n, before[1] + samples, before[2] + total
    return found


def volumes(settings: Settings) -> dict[str, tuple[int, int]]:
    """Events and deltas by tenant and month, of the topic itself."""
    found: dict[str, tuple[int, int]] = {}
    for one in dump(settings.kafka, settings.names.deltas):
        row = json.loads(one.value or b"")
        place = f"{row['tenant_id']} {row['minute'][:7]}-01"
        events, deltas = found.get(place, (0, 0))
        found[place] = events + row["events"], deltas + 1
    return found


def test_the_index_takes_each_delta_once_however_often_it_is_killed(run: Pipeline) -> None:
    settings = run.settings
    script = (
        "from tidemark.billing import delta_index; from tidemark.core.settings import load; delta_index.BATCH = 40; "
        "s = load(); delta_index.catch_up(s, s.names)"
    )
    for _ in range(4):
        before = sum(
            row[3] for row in rows(settings, "delta_position", "deltas_topic, partition, topic_id, next_offset")
        )
        process = subprocess.Popen([sys.executable, "-c", script], env={**os.environ, **settings.environment()})

        def moved(before: int = before, process: subprocess.Popen[bytes] = process) -> bool:
            return position(settings) > before or process.poll() is not None

        wait_until(moved, 60, "the index to move", every_s=0.01)
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGKILL)
        process.wait(30)
    delta_index.catch_up(settings, settings.names)
    assert indexed(settings) == recounted(settings)
    by_month = rows(settings, "delta_volume", "tenant_id, month::text, events, deltas")
    assert {f"{tenant} {month}": (events, deltas) for tenant, month, events, deltas in by_month} == volumes(settings)
    assert delta_index.catch_up(settings, settings.names) == 0
    assert delta_index.catch_up(settings, settings.names, limit=10) == 0


def test_the_index_of_a_topic_that_was_made_again_begins_again(run: Pipeline) -> None:
    settings = run.settings
    delta_index.catch_up(settings, settings.names)
    before = indexed(settings)
    with postgres.connect(settings.postgres) as connection:
        schema = sql.Identifier(settings.names.billing_schema)
        connection.execute(sql.SQL("UPDATE {}.delta_position SET topic_id = gen_random_uuid()").format(schema))
    assert delta_index.catch_up(settings, settings.names) > 0
    assert indexed(settings) == before


def test_a_number_names_its_events_and_how_many_copies_were_dropped(run: Pipeline) -> None:
    found = explain.explain(run.settings, "acme", "alice", "bytes", moment("2024-03"), events=True)
    assert found.key == MARCH
    assert found.adds_up
    assert found.copies_complete
    events = found.events or ()
    own = [n for n in range(EVENTS) if n % 3 != 2]
    # e-4 and its void, and e-0 of another source.
    assert sorted(one.event_id for one in events) == sorted([*(f"e-{n}" for n in own), "v-5", "e-0"])
    assert sum(one.amount for one in events) == sum(line.value for line in found.current.values()) == sum(own) - 4
    of_id = {one.event_id: one for one in events if not one.source}
    assert {name: one.copies for name, one in of_id.items() if one.copies} == {
        "e-0": 3, **{f"e-{n}": 1 for n in range(1, 10) if n % 3 != 2}
    }  # fmt: skip
    assert of_id["e-7"].properties == {"region": "us", "user": "u0"}
    assert of_id["e-7"].time_ms == epoch_ms(START + timedelta(minutes=7))
    assert (of_id["v-5"].voids, of_id["v-5"].amount) == ("e-4", -4)


@pytest.mark.parametrize("meter", ["calls", "bytes", "users", "storage"])
def test_events_of_every_kind_of_meter_add_up_and_no_moment_is_an_amount(run: Pipeline, meter: str) -> None:
    found = explain.explain(run.settings, "acme", "alice", meter, START, events=True)
    assert found.adds_up
    assert "m" not in {one.part for one in found.events or ()}
    assert max(one.amount for one in found.events or ()) < EVENTS


def test_copies_are_counted_where_they_were_looked_for(run: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemark.billing.events.COPIES_AT_ONCE", 10)
    near = explain.explain(run.settings, "acme", "alice", "calls", START, events=True)
    assert not near.copies_complete
    every = explain.explain(run.settings, "acme", "alice", "calls", START, events=True, copies=True)
    assert every.copies_complete
    assert sum(one.copies or 0 for one in every.events or ()) == 3 + 6


#  bob's months begin on the 5th in New York
#  |5 Feb ...... 1 March ...|5 March ...... 1 April ...|5 April
def test_a_period_is_named_by_month_day_instant_or_not_at_all(run: Pipeline) -> None:
    settings = run.settings

    def start(text: str, customer: str = "bob") -> datetime:
        return explain.explain(settings, "acme", customer, "calls", moment(text)).key.start

    fifth = datetime(2024, 3, 5, 5, tzinfo=UTC)
    assert start("2024-03") == fifth
    assert start("2024-03-01") == start("2024-03-04") == datetime(2024, 2, 5, 5, tzinfo=UTC)
    assert start("2024-03-05") == start("2024-03-05T05:00:00Z") == fifth
    assert start("2024-03-05T04:59:59Z") < fifth
    assert start("2024-03", "alice") == start("2024-03-31", "alice") == START
    now = explain.explain(settings, "acme", "alice", "calls").key
    assert now.start <= datetime.now(UTC) < now.end


def test_one_event_is_traced_through_copies_voids_and_other_events_of_its_id(run: Pipeline) -> None:
    found = trace(run.settings, "e-0")
    assert [(one.tenant, one.source) for one in found] == [("acme", ""), ("acme", "eu-1"), ("globex", "")]
    mine = found[0]
    assert (mine.count("counted"), mine.count("copy"), len(mine.hits)) == (1, 3, 4)
    assert mine.summary == "e-0 of acme was counted once. 3 copies of it were dropped."
    assert mine.counted is not None
    fed = {(one.meter, one.key): one.amount for one in mine.counted.contributions}
    assert fed == {
        (meter, MARCH): amount for meter, amount in (("calls", 1), ("bytes", 0), ("users", 1), ("storage", 0))
    }
    assert trace(run.settings, "e-0", tenant="globex") == found[2:]
    (four,) = trace(run.settings, "e-4")
    assert four.summary == "e-4 of acme was counted once. 1 copy of it was dropped. It was taken back by v-5."
    assert [hit.event.voids for hit in four.voids if hit.event] == ["e-4"]
    assert trace(run.settings, "e-0", until=START) == []
    (late,) = trace(run.settings, "e-1", since=START + 5 * HOUR)
    assert len(late.hits) == 1


def wait_redriven(settings: Settings) -> None:
    ends = {settings.topics.redrive: end_offsets(settings.kafka, settings.topics.redrive)}
    with pulse(settings, LAST):
        wait_until(lambda: reached(settings, committed(settings), ends), 60, "what was redriven to be counted")


def stored(settings: Settings, customer: str, meter: str) -> int:
    """Measurements of a meter in the stored totals of the customer."""
    statement = sql.SQL("SELECT coalesce(sum(samples), 0) FROM {}.usage_period WHERE customer_id = %s AND meter = %s")
    with postgres.connect(settings.postgres) as connection:
        schema = sql.Identifier(settings.names.usage_schema)
        row = connection.execute(statement.format(schema), [customer, meter]).fetchone()
    return int(row[0]) if row else 0


def test_a_dead_letter_is_traced_before_and_after_it_is_redriven(run: Pipeline) -> None:
    settings, name = run.settings, f"e-{EVENTS + 1}"
    (before,) = trace(settings, name)
    assert before.summary == f"{name} of acme was not counted: 1 record is a dead letter (invalid_quantity)."
    bad = event(EVENTS + 1)
    arrival = epoch_ms(START + timedelta(minutes=EVENTS + 5))
    with Sender(settings.kafka) as sender:
        sender.send(settings.topics.redrive, json.dumps(bad).encode(), partition=0, timestamp_ms=arrival)
    wait_redriven(settings)
    (after,) = trace(settings, name)
    assert after.summary == f"{name} of acme was counted once. 1 record of it became a dead letter."
    assert after.counted is not None
    assert after.counted.topic == settings.topics.redrive
    (torn,) = trace(settings, "torn")
    assert torn.summary == "torn of an unknown tenant was not counted: 1 record is a dead letter (truncated_json)."


def test_what_one_meter_refused_is_traced_and_explained_before_and_after_it_is_redriven(run: Pipeline) -> None:
    settings, name = run.settings, f"e-{EVENTS + 2}"
    (before,) = trace(settings, name)
    assert before.summary == f"{name} of acme was counted once. Rejected by users only."
    assert before.counted is not None
    assert {one.meter for one in before.counted.contributions} == {"calls", "bytes", "storage"}
    now_ms = epoch_ms(START + timedelta(minutes=EVENTS + 10))
    plan = redrive.load_plan(settings, {"meter": "users"}, parse_fixes(['properties.user="u9"']), clock=lambda: now_ms)
    assert redrive.send(settings, plan, clock=lambda: now_ms, by="tests").sent == 1
    wait_redriven(settings)
    (after,) = trace(settings, name)
    assert after.summary == f"{name} of acme was counted once. Rejected at first, redriven and counted by users."
    assert (after.count("counted"), after.count("copy"), after.count("rejected")) == (2, 0, 0)
    (again,) = [hit for hit in after.hits if hit.topic == settings.topics.redrive]
    assert [(one.meter, one.amount) for one in again.contributions] == [("users", 1)]
    for meter, topic in (("users", settings.topics.redrive), ("calls", settings.topics.events)):
        wait_until(lambda meter=meter: stored(settings, "carol", meter) == 1, 60, "the total to be stored")  # type: ignore[misc]
        found = explain.explain(settings, "acme", "carol", meter, START, events=True)
        assert found.adds_up
        assert [(one.event_id, one.topic, one.copies) for one in found.events or ()] == [(name, topic, 0)]


def test_what_is_asked_on_the_command_line_is_answered_or_refused(run: Pipeline) -> None:
    settings = run.settings
    code, text = invoke(settings, "explain", "acme", "alice", "bytes", "2024-03", "--events", "--json")
    assert code == 0, text
    document = json.loads(text)
    first = next(one for one in document["events"] if one["event_id"] == "e-1")
    assert (first["time"], first["properties"], first["copies_dropped"]) == (
        "2024-03-01T00:01:00Z", {"region": "us", "user": "u1"}, 1
    )  # fmt: skip
    code, text = invoke(settings, "trace", "e-0", "--tenant", "acme", "--json")
    assert (code, json.loads(text)["events"][0]["copies_dropped"]) == (0, 3)
    for arguments, hint in (
        (("acne", "alice", "calls"), "did you mean 'acme'"),
        (("acme", "alcie", "calls"), "did you mean 'alice'"),
        (("acme", "alice", "cals"), "did you mean 'calls'"),
    ):
        code, text = invoke(settings, "explain", *arguments)
        assert (code, hint in text) == (2, True), text
    assert invoke(settings, "trace", "e-0", "--tenant", "acne")[0] == 2
    assert invoke(settings, "trace", "nowhere")[0] == 1


def test_a_traced_event_says_when_its_period_was_closed(run: Pipeline) -> None:
    settings = run.settings
    assert heartbeat.beat(settings, START + timedelta(days=33)) == 2
    run.wait_offsets()
    assert ledger_close.close(settings, "test").closes > 0
    found = trace(settings, "e-1")
    assert found[0].counted is not None
    assert all(one.closed_at is not None and one.corrections == 0 for one in found[0].counted.contributions)
