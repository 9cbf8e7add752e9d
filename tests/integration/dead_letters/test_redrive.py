"""Dead letters redriven through the real job: counted once however often, at their own arrival, in their window."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from jobs.flink.bounds import Bounds
from jobs.flink.rest import wait_until
from tests.integration.audited import entries
from tests.pipeline import Pipeline, pipeline
from tests.streams import StreamRecord
from tidemark.catalog import tool as catalog_tool
from tidemark.catalog.workers import settle_in_s
from tidemark.cli import dlq as dlq_commands
from tidemark.core import grants, topics
from tidemark.core.errors import UsageError
from tidemark.core.kafka import Sender, clients, dump, end_offsets
from tidemark.core.kafka.configs import topic_configs
from tidemark.core.settings import Settings
from tidemark.dead_letters import tool as redrive
from tidemark.dead_letters.fixes import Fixes, parse_fixes
from tidemark.dead_letters.log import marker_of
from tidemark.dead_letters.plan import Outcome, Plan
from tidemark.dead_letters.records import DeadLetter, Wanted, position_of, read_dead_letters
from tidemark.demo.report import recompute
from udfs.values import rfc3339

SECOND_MS, HOUR_MS = 1_000, 3_600_000
GRACE_MS, WINDOW_MS = 172_800_000, 86_400_000
EVENT_MS = 1_709_630_262_250
# The events arrived in time, and by the wall clock of the redrive they are older than grace.
NOW_MS = EVENT_MS + GRACE_MS + HOUR_MS
WITHIN_S = 120.0

CATALOG: dict[str, Any] = {
    "tenants": {"acme": None},
    "meters": {
        "calls": {"event_types": ["call"], "aggregation": "count", "unit": "calls"},
        # Two that take all trips and parcels, and two that refuse some.
        "trips": {"event_types": ["trip"], "aggregation": "count", "unit": "trips"},
        "miles": {"event_types": ["trip"], "aggregation": "sum", "unit": "miles", "value": "miles"},
        "parcels": {"event_types": ["parcel"], "aggregation": "count", "unit": "parcels"},
        "weight": {"event_types": ["parcel"], "aggregation": "sum", "unit": "g", "value": "grams"},
    },
}
SCANS = {"event_types": ["scan"], "aggregation": "sum", "unit": "pages"}
LATER: dict[str, Any] = {**CATALOG, "valid_from": "beginning", "meters": {**CATALOG["meters"], "scans": SCANS}}
# Parcels say what they weigh by another name.
LATER["meters"]["weight"] = CATALOG["meters"]["weight"] | {"value": "weight"}
COUNTS = frozenset({"calls", "trips", "parcels"})


def event(event_id: str, event_type: str, event_ms: int = EVENT_MS, **fields: Any) -> dict[str, Any]:
    return {
        "event_id": event_id, "tenant_id": "acme", "customer_id": "alice", "event_type": event_type,
        "timestamp": rfc3339(event_ms), **fields,
    }  # fmt: skip


def sent(document: dict[str, Any], event_ms: int = EVENT_MS, partition: int = 0) -> StreamRecord:
    """Arrives a second after its event time."""
    return StreamRecord(partition, event_ms + SECOND_MS, b"k", json.dumps(document).encode())


@dataclass(frozen=True)
class Run:
    """The job over a topic of its own, and what is asked of it again and again."""

    pipeline: Pipeline

    @property
    def settings(self) -> Settings:
        return self.pipeline.settings

    def dead_letters(self, **fields: Any) -> list[DeadLetter]:
        every = list(read_dead_letters(self.settings))
        return [record for record in every if all(record[name] == value for name, value in fields.items())]

    def wait_dead_letters(self, count: int, **fields: Any) -> list[DeadLetter]:
        wait_until(lambda: len(self.dead_letters(**fields)) >= count, WITHIN_S, f"{count} dead letters of {fields}")
        dead_letters = self.dead_letters(**fields)
        assert len(dead_letters) == count
        return dead_letters

    def plan(self, fixes: Fixes | None = None, *, now_ms: int = NOW_MS, force: bool = False, **wanted: Any) -> Plan:
        chosen: Wanted = wanted  # type: ignore[assignment]
        return redrive.load_plan(self.settings, chosen, fixes or Fixes(), force=force, clock=lambda: now_ms)

    def send(self, plan: Plan, now_ms: int = NOW_MS) -> int:
        return redrive.send(self.settings, plan, lambda: now_ms, by="tests").sent

    def await_catalog(self) -> None:
        time.sleep(settle_in_s(self.settings))

    def counted(self) -> Counter[tuple[str, str]]:
        """What the deltas add up to by meter and source topic."""
        totals: Counter[tuple[str, str]] = Counter()
        for record in dump(self.settings.kafka, self.settings.names.deltas):
            delta = json.loads(record.value or b"{}")
            amount = delta["n"] if delta["meter"] in COUNTS else int(Decimal(delta["total"]))
            totals[delta["meter"], delta["source_topic"]] += amount
        return totals

    def pages(self) -> int:
        return self.counted()["scans", self.settings.topics.redrive]

    def settle(self, name: str) -> None:
        """Wait until everything that is in the redrive topic now is in the deltas or the dead letters.

        A call is put behind it into every partition; it is counted in the same tick as what is before it, or later.
        """
        before = self.counted()["calls", self.settings.topics.redrive]
        partitions = end_offsets(self.settings.kafka, self.settings.topics.redrive)
        with Sender(self.settings.kafka) as sender:
            for partition in partitions:
                value = json.dumps(event(f"{name}-{partition}", "call")).encode()
                arrival_ms = EVENT_MS + SECOND_MS
                sender.send(self.settings.topics.redrive, value, partition=partition, timestamp_ms=arrival_ms)
        calls: Callable[[], int] = lambda: self.counted()["calls", self.settings.topics.redrive]  # noqa: E731
        wait_until(lambda: calls() >= before + len(partitions), WITHIN_S, "what was redriven to be counted")


@pytest.fixture(scope="module")
def run(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Dead letters of a meter that the catalog lacks at first; then it has it, from the beginning of time."""
    folder = tmp_path_factory.mktemp("redrive")
    with pipeline(stack.settings, "redrive", CATALOG, folder) as made:
        made.submit("meter")
        run = Run(made)
        scans = [event(f"s-{n}", "scan", quantity=n, customer_id=f"c-{n % 3}") for n in range(1, 41)]
        copies = scans[:10]
        too_old = NOW_MS - GRACE_MS - WINDOW_MS - 1
        made.send(sent(one, partition=n % 4) for n, one in enumerate([*scans, *copies]))
        made.send([sent(event("old", "scan", too_old, quantity=1_000), too_old)])
        made.send([sent(event("null", "scan", customer_id=None, quantity=100)), StreamRecord(0, EVENT_MS, b"k", b"?")])
        made.send(sent(event(f"p-{n}", "parcel", properties={"weight": n}), partition=n % 4) for n in range(1, 6))
        run.wait_dead_letters(5, meter="weight", partial=True)
        run.wait_dead_letters(51, reason="unknown_event_type")
        run.wait_dead_letters(1, reason="wrong_type")
        run.wait_dead_letters(1, reason="malformed_json")
        # Judged by the catalog as it is, all of them would be rejected again.
        assert [item.code for item in run.plan(reason="unknown_event_type").items] == ["still_rejected"] * 51
        file = folder / "later.yaml"
        file.write_text(yaml.safe_dump(LATER))
        catalog_tool.apply(made.settings, file, backdate=True)
        run.await_catalog()
        yield run


PAGES = sum(range(1, 41))


def test_two_redrives_at_once_and_one_more_count_every_event_once(run: Run) -> None:
    # Given two people who plan before either has sent
    plans = [run.plan(reason="unknown_event_type", since_ms=EVENT_MS) for _ in range(2)]
    for plan in plans:
        assert [plan.count(outcome) for outcome in Outcome] == [40, 0, 10, 0]
    # When both send at once, and one of them tries again
    threads = [threading.Thread(target=run.send, args=[plan]) for plan in plans]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(end_offsets(run.settings.kafka, run.settings.topics.redrive).values()) == 80
    again = run.plan(reason="unknown_event_type", since_ms=EVENT_MS)
    assert [again.count(outcome) for outcome in Outcome] == [0, 50, 0, 0]
    # Then each is counted once, and no dead letter was added: by the wall clock they are older than grace, by their
    # arrival they are not.
    run.settle("both")
    assert run.pages() == PAGES
    assert run.dead_letters(topic=run.settings.topics.redrive) == []


def test_a_redriven_event_carries_its_arrival_its_origin_and_its_customers_key(run: Run) -> None:
    wanted = {str(record["event_id"]): record for record in run.dead_letters(reason="unknown_event_type")}
    partitions: dict[bytes, set[int]] = {}
    for record in dump(run.settings.kafka, run.settings.topics.redrive):
        marker = marker_of(record)
        if marker is None:
            continue
        document = json.loads(record.value or b"{}")
        assert record.timestamp_ms == EVENT_MS + SECOND_MS
        assert record.key == f"acme/{document['customer_id']}".encode()
        assert marker.topic == run.settings.topics.events
        assert (marker.partition, marker.offset) == (marker.origin.partition, marker.origin.offset)
        assert marker.dead_letter.topic == run.settings.names.dlq
        assert document["event_id"] in wanted
        partitions.setdefault(record.key, set()).add(record.partition)
    assert partitions
    assert all(len(found) == 1 for found in partitions.values())


def test_beyond_its_window_an_event_is_refused_and_a_millisecond_before_it_is_not(run: Run) -> None:
    old = run.dead_letters(event_id="old")[0]
    item = run.plan(at=[position_of(old["at"])]).items[0]
    assert (item.outcome, item.code) == (Outcome.REFUSED, "window_over")
    assert run.plan(at=[position_of(old["at"])], now_ms=NOW_MS - 1).items[0].outcome is Outcome.SEND
    # A plan that waited for its confirmation until the window was over sends nothing.
    waited = run.plan(at=[position_of(old["at"])], now_ms=NOW_MS - 1)
    assert run.send(waited, NOW_MS) == 0


def test_a_repaired_event_is_counted_once(run: Run) -> None:
    before = run.pages()
    fixes = parse_fixes(sets=['customer_id="alice"'])
    plan = run.plan(fixes, reason="wrong_type")
    assert plan.items[0].meters == ("scans",)
    assert run.send(plan) == 1
    assert run.send(plan) == 1
    assert run.plan(fixes, reason="wrong_type").items[0].outcome is Outcome.ALREADY
    run.settle("repaired")
    assert run.pages() == before + 100


def test_what_is_no_event_is_refused(run: Run) -> None:
    assert run.plan(reason="malformed_json").refused_by() == {"no_json_object": 1}


def test_what_fails_again_is_a_dead_letter_of_the_redrive_topic_with_its_first_arrival(run: Run) -> None:
    # Given an event that is sent by force, although no meter takes it
    run.pipeline.send([sent(event("m-1", "mystery", quantity=5))])
    first = run.wait_dead_letters(1, event_id="m-1")[0]
    at = position_of(first["at"])
    assert run.send(run.plan(at=[at], force=True)) == 1
    wait_until(lambda: len(run.dead_letters(event_id="m-1")) > 1, WITHIN_S, "it to be rejected again")
    second = run.dead_letters(event_id="m-1", topic=run.settings.topics.redrive)[0]
    assert second["arrival"] == first["arrival"]
    status = redrive.status(run.settings, at, lambda: NOW_MS)
    assert status.already_redriven is None
    assert [str(position) for position in status.failures] == [f"{second['partition']}:{second['offset']}"]
    # When the second is repaired, it is counted, and the first cannot be sent any more, whatever name it gets.
    before = run.pages()
    fixes = parse_fixes(sets=['event_type="scan"'])
    assert run.send(run.plan(fixes, at=[position_of(second["at"])])) == 1
    renamed = parse_fixes(sets=['event_type="scan"', 'event_id="m-2"'])
    assert run.plan(renamed, at=[at]).items[0].outcome is Outcome.ALREADY
    run.settle("again")
    assert run.pages() == before + 5
    # Then both show where it stands.
    for dead_letter in (first, second):
        status = redrive.status(run.settings, position_of(dead_letter["at"]), lambda: NOW_MS)
        assert status.marker is not None
        assert status.marker.origin.topic == run.settings.topics.events


def test_what_a_meter_is_missing_is_redriven_for_it_alone_and_counted_once(run: Run) -> None:
    # Given trips that one meter refuses and the other counts, one of them sent twice
    trips = [event(f"t-{n}", "trip", customer_id=f"c-{n}") for n in range(3)]
    run.pipeline.send(sent(one, partition=n % 3) for n, one in enumerate([*trips, trips[0]]))
    run.wait_dead_letters(3, meter="miles", partial=True)
    assert run.plan(meter="miles").refused_by() == {"still_rejected": 3}
    other = parse_fixes(sets=["properties.miles=7", 'event_id="t-9"'])
    assert run.plan(other, meter="miles").refused_by() == {"fix_conflict": 3}
    # When it is redriven by two at once, and once more
    fixes = parse_fixes(sets=["properties.miles=7"])
    plans = [run.plan(fixes, meter="miles") for _ in range(2)]
    assert [plan.sends[0].meters for plan in plans] == [("miles",)] * 2
    assert [run.send(plan) for plan in plans] == [3, 3]
    again = run.plan(fixes, meter="miles")
    assert [again.count(outcome) for outcome in Outcome] == [0, 3, 0, 0]
    run.settle("trips")
    # ... and a copy that says all of it comes after that,
    copy = event("t-1", "trip", customer_id="c-1", properties={"miles": 100})
    calls = run.counted()["calls", run.settings.topics.events]
    # ... in the partition of the first, so that every run knows which was first.
    run.pipeline.send([sent(copy, partition=1), sent(event("behind the copy", "call"), partition=1)])
    wait_until(lambda: run.counted()["calls", run.settings.topics.events] > calls, WITHIN_S, "the copy to be read")
    # Then it is counted for its meter alone, once; for the other it was counted before.
    counted, events, redriven = run.counted(), run.settings.topics.events, run.settings.topics.redrive
    assert (counted["trips", events], counted["trips", redriven]) == (3, 0)
    assert (counted["miles", events], counted["miles", redriven]) == (0, 21)
    assert len(run.dead_letters(meter="miles")) == 3
    status = redrive.status(run.settings, position_of(run.dead_letters(meter="miles")[0]["at"]), lambda: NOW_MS)
    assert status.already_redriven is not None


def test_a_meter_that_was_put_right_counts_what_it_refused_once_it_is_redriven(run: Run) -> None:
    plan = run.plan(meter="weight")
    assert [item.meters for item in plan.sends] == [("weight",)] * 5
    assert (run.send(plan), run.send(plan)) == (5, 5)
    run.settle("parcels")
    counted, events, redriven = run.counted(), run.settings.topics.events, run.settings.topics.redrive
    assert (counted["parcels", events], counted["parcels", redriven]) == (5, 0)
    assert (counted["weight", events], counted["weight", redriven]) == (0, 15)


def test_a_run_from_the_beginning_by_the_catalog_of_now_comes_to_the_same(run: Run, stack: Any, tmp_path: Path) -> None:
    # Its meter of weights takes the parcels themselves, and must not count them as redriven once more.
    counted = ("trips", "miles", "parcels", "weight")
    with pipeline(
        stack.settings, "redrive_again", LATER, tmp_path, **{"topics.events": run.settings.topics.events}
    ) as again:
        meter = again.submit("meter", Bounds(end="latest"))
        wait_until(lambda: again.rest.details(meter)["state"] == "FINISHED", 180, "the bounded meter to finish")
        totals = {name: sum(n for (one, _), n in Run(again).counted().items() if one == name) for name in counted}
        assert totals == {"trips": 3, "miles": 21, "parcels": 5, "weight": 15}
        partial = [record["meter"] for record in Run(again).dead_letters(partial=True)]
        assert partial == ["miles"] * 3
    # The independent recomputation says so too.
    with recompute(run.settings, {name: LATER[name] for name in ("tenants", "meters")}) as oracle:
        rows = oracle.db.execute("SELECT meter, sum(total)::INT FROM usage_period GROUP BY meter").fetchall()
        assert {meter: total for meter, total in rows if meter in counted} == totals


@pytest.mark.parametrize("create_time", [False, True])
def test_the_redrive_topic_keeps_arrivals_and_records_whatever_the_events_topic_does(
    stack: Any, create_time: bool
) -> None:
    own = stack.settings.with_changes({"topics.events": f"test.topics_{create_time}".lower()})
    topics.apply(own, create_time=create_time)
    assert config_of(own, own.topics.redrive, "message.timestamp.type") == "CreateTime"
    assert config_of(own, own.topics.redrive, "retention.ms") == "-1"
    kind = config_of(own, own.topics.events, "message.timestamp.type")
    assert kind == ("CreateTime" if create_time else "LogAppendTime")
    assert not any(one.created for one in topics.apply(own, create_time=create_time))


def test_a_redrive_topic_with_the_clock_of_the_broker_is_refused(stack: Any) -> None:
    own = stack.settings.with_changes({"topics.events": "test.redrive_wrong"})
    # Given a topic of the name that the redrive topic will have, made as a topic of live events
    topics.apply(own.with_changes({"topics.events": own.topics.redrive}))
    with pytest.raises(UsageError, match=r"test\.redrive_wrong\.redrive has LogAppendTime timestamps"):
        topics.apply(own)


def config_of(settings: Settings, topic: str, name: str) -> str:
    with clients.admin(settings.kafka) as admin:
        return topic_configs(admin, topic)[name]


def command(run: Run, *arguments: str) -> Any:
    """What a command of `tidemark dlq` prints as JSON."""
    app = typer.Typer()
    dlq_commands.register(app)
    env = {"TIDEMARK_RUN_ID": run.settings.run_id, "TIDEMARK_TOPICS__EVENTS": run.settings.topics.events}
    result = CliRunner().invoke(app, ["dlq", *arguments, "--json"], env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_the_commands_list_show_plan_and_send_by_the_real_clock(run: Run) -> None:
    # Given an event of just now, with a typing error in the name of a field
    now_ms = redrive.wall_clock_ms()
    spoiled = {**event("live", "scan", now_ms - HOUR_MS, quantity=7), "customer": "bob"}
    del spoiled["customer_id"]
    run.pipeline.send([sent(spoiled, now_ms - HOUR_MS)])
    dead_letter = run.wait_dead_letters(1, event_id="live")[0]
    listed = command(run, "list", "--reason", "missing_field", "--since", rfc3339(now_ms - HOUR_MS) or "")
    assert listed["records"] == [dead_letter]
    fix = ("redrive", "--at", dead_letter["at"], "--rename", "customer=customer_id")
    # When it is shown, tried and sent
    assert command(run, "show", dead_letter["at"])["redrive"]["code"] == "still_rejected"
    tried = command(run, *fix, "--dry-run")
    assert (tried["outcomes"]["send"], tried["counted_by"], tried["sent"]) == (1, {"scans": 1}, 0)
    before = run.pages()
    assert command(run, *fix, "--yes", "--by", "ann")["sent"] == 1
    # Then it is counted, and shown as redriven.
    again = command(run, *fix, "--yes")
    assert (again["outcomes"]["already_redriven"], again["sent"]) == (1, 0)
    run.settle("command")
    assert run.pages() == before + 7
    shown = command(run, "show", dead_letter["at"])
    header = shown["redriven"]["header"]
    assert header["offset"] == dead_letter["offset"]
    entry = entries(run.pipeline.settings, "dlq.redrive")[-1]
    assert (header["redriven_by"], header["audit_entry"]) == ("ann", entry.entry_id)
    assert header["edits"] == [
        {"path": "customer", "before": '"bob"', "after": None},
        {"path": "customer_id", "before": None, "after": '"bob"'},
    ]
    assert (entry.login, entry.stated_by, entry.detail["events"]) == (grants.OPS, "ann", 1)
    assert entry.detail["dead_letters"] == [dead_letter["at"]]
    assert entry.detail["edits"] == [{**edit, "events": 1} for edit in header["edits"]]
    assert json.loads(shown["text"]) == spoiled
