"""Replays on the real services: rebuilt beside the live run, compared, promoted, taken back, thrown away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import yaml
from psycopg import sql
from typer.testing import CliRunner

from jobs.flink.rest import wait_until
from tests.integration.audited import entries
from tests.ledger_lines import ask, closed_lines, current_differences, current_periods, final_periods, oracle_lines
from tests.pipeline import Pipeline, pipeline
from tests.streams import BEGIN_MS, CATALOG, StreamRecord, generate
from tidemark.archive.archiver import run as archive
from tidemark.billing.close import close
from tidemark.billing.decide import CloseRequest
from tidemark.billing.outbox import publish
from tidemark.catalog import tool as catalog_tool
from tidemark.cli.main import app
from tidemark.core import postgres
from tidemark.core.errors import TidemarkError, UsageError
from tidemark.core.kafka import end_offsets
from tidemark.core.settings import Settings
from tidemark.oracle.oracle import Oracle
from tidemark.oracle.relations import schema_of
from tidemark.replay import reprocess
from tidemark.replay import run as replay_run
from tidemark.replay.diff import diff
from tidemark.replay.discard import discard
from tidemark.replay.promotion import promote, revert
from tidemark.replay.record import Replay

EVENTS = 3_000
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
# Long after the last event of the stream: its periods are final then, but for a year and a quarter or two.
LATER = datetime(2024, 5, 20, tzinfo=UTC)
FOR_EVER_MS = 10**15


def later_catalog() -> dict[str, Any]:
    """The catalog with another meter and another calendar, from the beginning."""
    changed: dict[str, Any] = json.loads(json.dumps(CATALOG))
    changed["meters"]["tokens"]["group_by"] = ["region"]
    changed["calendars"]["new-york-31st"]["anchor"] = "2024-01-15T00:00:00"
    return changed


def last_of_all(partitions: int = 4) -> list[StreamRecord]:
    """An event of a later time in each partition: by then everything before has arrived."""
    ms = int(LATER.timestamp() * 1_000)
    return [
        StreamRecord(
            partition, ms, b"peter",
            json.dumps(
                {
                    "event_id": f"last-{partition}", "tenant_id": "initech", "customer_id": "peter",
                    "event_type": "call", "timestamp": LATER.isoformat(), "quantity": 1,
                }
            ).encode(),
        )
        for partition in range(partitions)
    ]  # fmt: skip


def level_set_once() -> StreamRecord:
    """A level of a customer that sends nothing else: its later periods, by any calendar, have no usage."""
    event = {
        "event_id": "set-once", "tenant_id": "acme", "customer_id": "idle", "event_type": "resize",
        "timestamp": datetime.fromtimestamp(BEGIN_MS / 1_000, UTC).isoformat(), "quantity": 7,
    }  # fmt: skip
    return StreamRecord(0, BEGIN_MS, b"idle", json.dumps(event).encode())


def oracle_of(made: Pipeline, catalog: dict[str, Any], *, lenient: bool) -> Oracle:
    """The oracle over the topic, by a catalog; lenient: nothing was too late."""
    changed = Pipeline(
        made.settings.with_changes({"events.grace_s": FOR_EVER_MS // 1_000}) if lenient else made.settings, catalog
    )
    return changed.oracle()


def assert_reads_as(oracle: Oracle, settings: Settings) -> None:
    """Rollups and ledger, as people read them, are the oracle's."""
    assert current_differences(oracle, settings) == []
    expected, found = oracle_lines(oracle, settings), closed_lines(settings)
    assert found == expected


def assert_tiled(settings: Settings) -> None:
    """No instant of a customer is in two closed periods, and none between two of them is in no period."""
    periods = sorted(current_periods(settings))
    assert sum(key.customer_id == "idle" for key in periods) > 1
    assert [(one, two) for one, two in pairwise(periods) if one[:2] == two[:2] and one.end != two.start] == []


def state_of(settings: Settings) -> list[tuple[Any, ...]]:
    """What a switch changes: overlays, corrections, closes, the outbox, the state of the replay, and the views."""
    return ask(
        settings,
        """SELECT (SELECT count(*) FROM {billing}.overlay), (SELECT count(*) FROM {billing}.correction),
                  (SELECT count(*) FROM {billing}.period_close), (SELECT max(seq) FROM {billing}.outbox),
                  (SELECT state FROM {billing}.replay WHERE replay_id = 'again'),
                  pg_get_viewdef(format('%I.usage_period', {schema})::regclass)""",
    )


def waiting_for(connection: psycopg.Connection, settings: Settings, table: str = "replay_decision") -> bool:
    """Whether somebody waits for a table or view of the ledger."""
    found = connection.execute(
        "SELECT count(*) FROM pg_locks "
        "WHERE NOT granted AND relation = format('%%I.%%I', %s::text, %s::text)::regclass",
        [settings.names.billing_schema, table],
    ).fetchone()
    return bool(found and found[0])


@pytest.fixture(scope="module")
def live(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """A live run with closed periods; its jobs go on."""
    hasty = {
        "close.settle_s": 1, "rollup.checkpoint_interval_ms": 1_000, "rollup.minibatch_ms": 500,
        "rollup.customer_windows": False,
    }  # fmt: skip
    with pipeline(stack.settings, "rebuilt", CATALOG, tmp_path_factory.mktemp("rebuilt"), **hasty) as made:
        made.start()
        made.send([level_set_once(), *generate(EVENTS, seed=7)])
        made.send(last_of_all())
        made.wait_offsets()
        assert close(made.settings, "test", CloseRequest(approved=True)).closes
        yield made


@pytest.fixture(scope="module")
def before_the_change(live: Pipeline) -> datetime:
    """An instant at which the first catalog was known, and the other one was not."""
    return datetime.fromisoformat(str(ask(live.settings, "SELECT clock_timestamp()")[0][0]))


@pytest.fixture(scope="module")
def rebuilt(live: Pipeline, before_the_change: datetime, tmp_path_factory: pytest.TempPathFactory) -> Replay:  # noqa: ARG001
    """A replay by another catalog, level with the live run."""
    file = tmp_path_factory.mktemp("later") / "catalog.yaml"
    file.write_text(yaml.safe_dump({"valid_from": "beginning", **later_catalog()}))
    catalog_tool.apply(live.settings, file, backdate=True)
    request = replay_run.Request("again", "test", BEGIN)
    return replay_run.finish(live.settings, replay_run.start(live.settings, request))


def test_the_live_run_reads_as_the_oracle_says_before_anything_is_replayed(live: Pipeline) -> None:
    with oracle_of(live, CATALOG, lenient=False) as oracle:
        assert_reads_as(oracle, live.settings)
        cutoff = LATER - timedelta(seconds=live.settings.events.grace_s + live.settings.meter.bounded_disorder_s)
        assert final_periods(oracle, cutoff) <= current_periods(live.settings)


def test_a_changed_catalog_says_what_it_would_count_anew_and_changes_nothing(live: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(yaml.safe_dump({"valid_from": "2024-03-10T00:00:00Z", **later_catalog()}))
    found = reprocess.concern(live.settings, file)
    assert {change.table for change in found.plan.changes} == {"calendar", "meter"}
    assert found.since == datetime(2024, 3, 10, tzinfo=UTC)
    # A calendar concerns all tenants; the replay begins with the earliest period that holds the change.
    assert found.tenants == ()
    ((start, periods),) = ask(
        live.settings,
        "SELECT min(period_start), count(DISTINCT (tenant_id, customer_id, period_start)) "
        "FROM {billing}.usage_period WHERE period_end > '2024-03-10T00:00:00Z'",
    )
    assert (found.start, found.periods) == (start, periods)
    assert 0 < found.closed < found.periods
    file.write_text(yaml.safe_dump({"valid_from": "beginning", **CATALOG}))
    with pytest.raises(UsageError, match="changes nothing that was counted"):
        reprocess.concern(live.settings, file)


@pytest.mark.usefixtures("rebuilt")
def test_a_replay_that_overlaps_an_undecided_one_is_refused(live: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tidemark.cli.replay.load", lambda **_: live.settings)
    for command in (["status", "again"], ["list"]):
        shown = CliRunner().invoke(app, ["replay", *command])
        assert "again: caught_up, 2020-01-01T00:00:00Z to on, all tenants" in shown.stdout
    with pytest.raises(UsageError, match="covers some of the same usage"):
        replay_run.start(live.settings, replay_run.Request("other", "test", LATER, tenants=["acme"]))


@pytest.mark.usefixtures("rebuilt")
def test_reprocessing_applies_no_catalog_whose_replay_would_be_refused(live: Pipeline, tmp_path: Path) -> None:
    file = tmp_path / "catalog.yaml"
    file.write_text(yaml.safe_dump({"valid_from": "beginning", **CATALOG}))
    before = len(reprocess.concern(live.settings, file).plan.changes)
    for replay_id, refusal in (("other", "covers some of the same usage"), ("again", "was used before")):
        with pytest.raises(UsageError, match=refusal):
            reprocess.start(live.settings, file, replay_run.Request(replay_id, "test", BEGIN))
    assert len(reprocess.concern(live.settings, file).plan.changes) == before


@pytest.mark.usefixtures("rebuilt")
def test_promoting_a_replay_and_taking_it_back_each_read_as_the_oracle_says(live: Pipeline) -> None:
    settings = live.settings
    before = closed_lines(settings)
    meters = {line.meter for line in diff(settings, "again")}
    assert "tokens" in meters

    promoted = promote(settings, "again", "test")
    publish(settings)

    assert promoted.changed
    assert promoted.corrections
    with oracle_of(live, later_catalog(), lenient=True) as oracle:
        assert_reads_as(oracle, settings)
    assert_tiled(settings)
    assert not promote(settings, "again", "test").changed
    (entry,) = entries(settings, "replay.promote", "again")
    assert (entry.login, entry.stated_by, entry.detail["corrections"]) == ("tidemark", "test", promoted.corrections)
    with pytest.raises(TidemarkError, match="its rollups are in use"):
        discard(settings, "again", "test")
    # The live run is not touched by it.
    reverted = revert(settings, "again", "test")
    assert reverted.changed
    assert closed_lines(settings) == before
    assert_tiled(settings)
    with oracle_of(live, CATALOG, lenient=False) as oracle:
        assert_reads_as(oracle, settings)
    assert not revert(settings, "again", "test").changed
    # What has been promoted and taken back can be promoted again.
    promote(settings, "again", "test")
    with oracle_of(live, later_catalog(), lenient=True) as oracle:
        assert_reads_as(oracle, settings)
    revert(settings, "again", "test")


@pytest.mark.usefixtures("rebuilt")
def test_a_switch_waits_for_who_is_reading_and_is_tried_again(live: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = live.settings
    monkeypatch.setattr("tidemark.replay.promotion.LOCK_TIMEOUT_S", 1)
    with (
        ThreadPoolExecutor(1) as pool,
        postgres.connect(settings.postgres) as reader,
        postgres.connect(settings.postgres) as connection,
    ):
        view = sql.Identifier(settings.names.billing_schema, "usage_period")
        with reader.transaction():
            # Given somebody who reads for longer than one attempt waits ...
            reader.execute(sql.SQL("SELECT count(*) FROM {}").format(view))
            promoted = pool.submit(promote, settings, "again", "test")
            for waits in (True, False, True):
                wait_until(
                    lambda waits=waits: waiting_for(connection, settings, "usage_period") == waits,  # type: ignore[misc]
                    60, "the switch to wait, to give up and to wait again", every_s=0.01,
                )  # fmt: skip
        # ... then it is done once nobody reads.
        assert promoted.result(60).changed
    assert revert(settings, "again", "test").changed


@pytest.mark.drill
@pytest.mark.usefixtures("rebuilt")
@pytest.mark.parametrize("command", ["promote", "revert"])
def test_killed_in_the_middle_of_a_switch_it_was_never_begun(live: Pipeline, command: str) -> None:
    settings = live.settings
    if command == "revert":
        promote(settings, "again", "test")
    before = state_of(settings)
    # Given a switch that has replaced the views and written corrections, and waits to note its decision ...
    with postgres.connect(settings.postgres) as connection, connection.transaction():
        table = sql.Identifier(settings.names.billing_schema, "replay_decision")
        connection.execute(sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(table))
        process = subprocess.Popen(
            [sys.executable, "-m", "tidemark.cli.main", "replay", command, "again", "--run-id", settings.run_id],
            env={**os.environ, "TIDEMARK_TOPICS__EVENTS": settings.topics.events},
        )
        wait_until(lambda: waiting_for(connection, settings), 120, "the switch to wait for the lock", every_s=0.05)
        # ... when it is killed ...
        process.kill()
        process.wait(30)
    # ... then nothing of it is there, and the next one does all of it.
    wait_until(lambda: state_of(settings) == before, 30, "the transaction to be rolled back")
    done = promote(settings, "again", "test") if command == "promote" else revert(settings, "again", "test")
    assert done.corrections
    if command == "promote":
        revert(settings, "again", "test")
    with oracle_of(live, CATALOG, lenient=False) as oracle:
        assert_reads_as(oracle, settings)


@pytest.mark.usefixtures("rebuilt")
def test_the_sum_of_close_and_corrections_is_the_present_value(live: Pipeline) -> None:
    rows = ask(
        live.settings,
        """SELECT c.value, f.value + coalesce(sum(l.delta), 0)
           FROM {billing}.usage_first_closed f
           JOIN {billing}.usage_corrected c USING (tenant_id, customer_id, period_start, period_end, meter, dims)
           LEFT JOIN {billing}.correction_line l USING (tenant_id, customer_id, period_start, period_end, meter, dims)
           GROUP BY c.value, f.value, tenant_id, customer_id, period_start, period_end, meter, dims""",
    )
    assert rows
    assert [row for row in rows if row[0] != row[1]] == []


def test_a_replay_alerts_nobody_and_leaves_the_live_counters_alone(live: Pipeline, rebuilt: Replay) -> None:
    run = replay_run.run_settings(live.settings, rebuilt)
    assert run.names.alerts != live.settings.names.alerts
    with oracle_of(live, CATALOG, lenient=False) as oracle:
        live.assert_exact(oracle)


def test_discarding_a_replay_leaves_only_its_row(live: Pipeline, rebuilt: Replay) -> None:
    settings = live.settings
    run = replay_run.run_settings(settings, rebuilt)
    assert discard(settings, "again", "test")
    assert not discard(settings, "again", "test")
    done = [entry.action for entry in entries(settings, "replay", "again")]
    assert (done[0], done[-1], done.count("replay.discard")) == ("replay.start", "replay.discard", 1)
    assert done.count("replay.promote") == done.count("replay.revert") > 1
    assert ask(settings, "SELECT state FROM {billing}.replay WHERE replay_id = 'again'") == [("discarded",)]
    assert ask(settings, f"SELECT to_regnamespace('{run.names.usage_schema}')") == [(None,)]
    password = settings.redis.secret
    with redis.Redis.from_url(settings.redis.url, password=password) as connected:
        assert list(connected.scan_iter(match=f"{run.names.redis_prefix}*")) == []
    assert live.rest.active(run.names.job("meter")) is None
    with pytest.raises(Exception, match="does not exist"):
        end_offsets(run.kafka, run.names.deltas)


@pytest.mark.usefixtures("rebuilt")
def test_a_replay_with_an_end_rebuilds_one_tenant_from_the_archive_by_what_was_known(
    live: Pipeline, before_the_change: datetime, tmp_path: Path
) -> None:
    # Given the later catalog in force, when a tenant is counted again from the archive by the earlier one ...
    settings, end = live.settings.with_changes({"archive.dir": str(tmp_path)}), datetime(2024, 4, 1, tzinfo=UTC)
    archive(settings)
    request = replay_run.Request(
        "acme", "test", BEGIN, end, ["acme"], before_the_change, from_archive=True, events_per_s=5_000
    )
    replay = replay_run.start(settings, request)
    run = replay_run.run_settings(settings, replay)
    # ... and it is interrupted and goes on ...
    Pipeline(run, CATALOG).cancel()
    replay = replay_run.finish(settings, replay_run.resume(settings, replay))
    # ... then the jobs have ended, and every period within is what the oracle says by that catalog.
    assert replay.state == "caught_up"
    assert live.rest.active(run.names.job("meter")) is None
    columns = ", ".join(schema_of("usage_period").names)
    inside = "period_end <= '2024-04-01T00:00:00Z'::timestamptz"
    found = ask(run, f"SELECT {columns} FROM {{usage}}.usage_period WHERE {inside}")
    with oracle_of(live, CATALOG, lenient=True) as oracle:
        expected = oracle.db.execute(
            f"SELECT {columns} FROM usage_period WHERE {inside} AND tenant_id = 'acme'"
        ).fetchall()
    assert found
    assert set(found) == set(expected)
    # Closed periods are of that catalog too, so that nothing crosses an edge and no period is replaced.
    before, periods = closed_lines(settings), current_periods(settings)
    assert promote(settings, "acme", "test").corrections
    assert current_periods(settings) == periods
    assert revert(settings, "acme", "test").corrections
    assert closed_lines(settings) == before
    discard(settings, "acme", "test")
