"""The watch over tenants on real services: one alert per beginning and end, the same after a crash, nothing dropped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from jsonschema import Draft202012Validator
from psycopg import sql

import schemas
from jobs.flink.rest import wait_until
from tests.integration.alerts.test_alerting import promoted
from tests.integration.storage import own_run
from tests.role_log import role_lines
from tests.sessions import end_sessions
from tidemark.core import migrate, postgres, topics
from tidemark.core.errors import StandbyError, TidemarkError, UnavailableError
from tidemark.core.kafka import dump
from tidemark.core.settings import Settings
from tidemark.quotas import daemon as watch

COMMAND = "from tidemark.cli.main import main; main()"
SERVE = [sys.executable, "-c", COMMAND, "serve", "--roles", "quotas"]
BOUNDS = {"quotas.tenant_measurements_per_hour": 1_000, "quotas.tenant_series": 100, "quotas.tenant_unique_values": 50}
TEN = "2013-01-01 10:00:00+00"
AT_ONCE = timedelta(0)
LATER = timedelta(hours=1)


@pytest.fixture
def run(stack: Any) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        made = settings.with_changes({"topics.events": f"test.{settings.run_id}", **BOUNDS})
        topics.apply(made)
        yield made


@contextmanager
def connected(run: Settings) -> Iterator[psycopg.Connection]:
    with postgres.connect(run.postgres) as connection:
        connection.execute(sql.SQL("SET search_path TO {}, public").format(sql.Identifier(run.names.usage_schema)))
        yield connection


def store_hours(run: Settings, tenant: str, n: int, *, series: int = 1, meter: str = "miles", part: str = "") -> None:
    """Put `series` rows of `n` measurements each into the hour TEN, as `rollup` upserts them."""
    with connected(run) as connection:
        connection.execute(
            """
            INSERT INTO usage_hour (tenant_id, customer_id, meter, dims, part, hour_start, n, samples, total, lo, hi)
            SELECT %s, 'c' || i, %s, '', %s, %s, %s, 1, 1, 1, 1 FROM generate_series(1, %s) i
            ON CONFLICT (tenant_id, customer_id, meter, dims, part, hour_start) DO UPDATE SET n = EXCLUDED.n
            """,
            [tenant, meter, part, TEN, n, series],
        )


def store_values(
    run: Settings, tenant: str, count: int, *, days_left: int, customer: str = "UA", hours_ago: int = 0
) -> None:
    """Put values of a unique meter into a period that ends in so many days, as if written so many hours ago."""
    with connected(run) as connection:
        connection.execute(
            """
            INSERT INTO usage_period (tenant_id, customer_id, meter, dims, part, period_start, period_end, n, samples,
                                      total, lo, hi, updated_at)
            SELECT %s, %s, 'tailnums', '', 'u' || md5(i::text), ends - interval '30 days', ends, 1, 1, 1, 1, 1,
                   now() - %s * interval '1 hour'
            FROM (SELECT date_trunc('day', now()) + %s * interval '1 day' AS ends) AS period, generate_series(1, %s) i
            """,
            [tenant, customer, hours_ago, days_left, count],
        )


def sent(run: Settings) -> list[dict[str, Any]]:
    """Alerts in the order they were sent; of one tenant they are in one partition."""
    alerts = [json.loads(record.value or b"") for record in dump(run.kafka, run.names.alerts)]
    validator = Draft202012Validator(schemas.topic_schema("usage.alerts"))
    assert [error.message for alert in alerts for error in validator.iter_errors(alert)] == []
    return alerts


def statuses(run: Settings) -> list[tuple[str, str, str]]:
    return [(a["type"], a["data"]["evidence"]["tenant_id"], a["data"]["status"]) for a in sent(run)]


def alarms(run: Settings) -> list[tuple[Any, ...]]:
    """Tenant, rule, and whether it was announced, has ended, and its end was announced."""
    query = """SELECT tenant_id, rule, announced_at IS NOT NULL, resolved_at IS NOT NULL,
                      resolved_announced_at IS NOT NULL FROM quota_alarm ORDER BY since, tenant_id, rule"""
    with connected(run) as connection:
        return connection.execute(query).fetchall()


def run_once(run: Settings, quiet: timedelta = LATER) -> watch.PollResult:
    """One pass of a monitor that has just been started."""
    made: list[watch.PollResult] = []

    def passed() -> bool:
        # Postgres ends the session of a monitor that was closed, and with it its right, a moment later.
        with suppress(StandbyError):
            made.append(monitor.run_once())
        return bool(made)

    with closing(watch.QuotaMonitor(run, quiet)) as monitor:
        wait_until(passed, 30, "the right to watch")
    return made[0]


def test_a_tenant_over_a_bound_is_named_with_hour_meters_and_customers(run: Settings) -> None:
    store_hours(run, "EWR", 501, series=2)
    store_hours(run, "EWR", 7, meter="flights")
    store_hours(run, "JFK", 1_000)
    assert run_once(run).sent == 1
    (alert,) = sent(run)
    assert (alert["source"], alert["type"], alert["data"]["status"]) == (
        "tidemark/watch", "pipeline.tenant_volume", "firing",
    )  # fmt: skip
    assert alert["data"]["evidence"] == {
        "tenant_id": "EWR",
        "value": 1_009,
        "bound": 1_000,
        "hour": "2013-01-01T10:00:00Z",
        "top_meters": [{"meter": "miles", "value": 1_002}, {"meter": "flights", "value": 7}],
        "top_customers": [{"customer_id": "c1", "value": 508}, {"customer_id": "c2", "value": 501}],
    }
    assert alarms(run) == [("EWR", "tenant_volume", True, False, False)]


def test_a_look_in_parts_sees_what_a_look_at_once_does(run: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    store_hours(run, "EWR", 501, series=4)
    store_values(run, "EWR", 30, days_left=3)
    store_values(run, "EWR", 30, days_left=9, customer="DL")
    store_values(run, "JFK", 49, days_left=9)
    with closing(watch.QuotaMonitor(run, LATER)) as monitor:
        monkeypatch.setattr("tidemark.quotas.usage_reader.SLICE_ROWS", 2)
        monkeypatch.setattr(watch, "STEP_S", 0.0)
        passes = [monitor.run_once()]
        while passes[-1].more:
            passes.append(monitor.run_once())
    assert len(passes) > 5
    assert [(alarm.tenant, alarm.rule, alarm.value) for alarm in passes[-1].begun] == [
        ("EWR", "tenant_unique", 60), ("EWR", "tenant_volume", 2_004),
    ]  # fmt: skip


def test_the_second_row_of_a_weighted_sum_is_no_second_measurement(run: Settings) -> None:
    store_hours(run, "EWR", 600, meter="gigabyte_hours")
    store_hours(run, "EWR", 600, meter="gigabyte_hours", part="m")
    assert run_once(run).begun == ()


def test_many_series_raise_an_alarm_of_their_own(run: Settings) -> None:
    store_hours(run, "EWR", 1, series=101)
    assert run_once(run).sent == 1
    (alert,) = sent(run)
    assert alert["type"] == "pipeline.tenant_series"
    assert alert["data"]["evidence"]["value"] == 101
    assert alert["data"]["evidence"]["top_meters"] == [{"meter": "miles", "value": 101}]


def test_unique_values_of_open_periods_are_summed_and_those_of_closed_ones_left_out(run: Settings) -> None:
    store_values(run, "EWR", 30, days_left=3)
    store_values(run, "EWR", 40, days_left=-3, hours_ago=2)
    assert run_once(run).begun == ()
    store_values(run, "EWR", 21, days_left=5, customer="AA")
    assert run_once(run).sent == 1
    evidence = sent(run)[0]["data"]["evidence"]
    assert evidence["value"] == 51
    assert evidence["top_customers"] == [{"customer_id": "UA", "value": 30}, {"customer_id": "AA", "value": 21}]


def test_a_period_of_loaded_history_counts_as_long_as_it_is_written_to(run: Settings) -> None:
    store_values(run, "EWR", 51, days_left=-3_000)
    assert [alarm.rule for alarm in run_once(run).begun] == ["tenant_unique"]


def test_an_alarm_is_announced_once_however_often_it_is_checked(run: Settings) -> None:
    store_hours(run, "EWR", 2_000)
    with closing(watch.QuotaMonitor(run)) as monitor:
        assert monitor.run_once().sent == 1
        store_hours(run, "EWR", 3_000)
        again = monitor.run_once()
        assert (len(again.grown), again.sent) == (1, 0)
    assert run_once(run).sent == 0, "a monitor that was started again knows what was announced"
    assert statuses(run) == [("pipeline.tenant_volume", "EWR", "firing")]


def test_an_alarm_ends_after_the_quiet_time_and_has_its_start(run: Settings) -> None:
    store_hours(run, "EWR", 2_000)
    run_once(run)
    assert run_once(run, LATER).ended == ()
    store_hours(run, "EWR", 2_005)
    assert len(run_once(run, AT_ONCE).ended) == 1
    first, last = sent(run)
    assert (first["data"]["status"], last["data"]["status"]) == ("firing", "resolved")
    assert first["id"] != last["id"]
    assert last["data"]["evidence"]["since"] == first["time"]
    store_hours(run, "EWR", 2_009)
    assert run_once(run).begun == (), "stragglers do not start it again"
    store_hours(run, "EWR", 4_000)
    assert run_once(run).sent == 1
    assert len({alert["id"] for alert in sent(run)}) == 3


def test_a_crash_between_sending_and_storing_repeats_the_same_alert(run: Settings) -> None:
    # Given a database that takes the alarm and dies before it takes that the alarm was announced ...
    store_hours(run, "EWR", 2_000)
    with connected(run) as connection:
        connection.execute(
            """CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'gone'; END $$;
               CREATE TRIGGER fail BEFORE UPDATE ON quota_alarm FOR EACH ROW EXECUTE FUNCTION fail();"""
        )
    with pytest.raises(UnavailableError, match="gone"):
        run_once(run)
    assert alarms(run) == [("EWR", "tenant_volume", False, False, False)]
    # ... when it is back, and more usage has come meanwhile ...
    with connected(run) as connection:
        connection.execute("DROP FUNCTION fail CASCADE")
    store_hours(run, "EWR", 9_000)
    assert run_once(run).sent == 1
    # ... then the alert is the same to the byte, so a reader that takes an id once has seen one.
    first, second = sent(run)
    assert first == second
    assert alarms(run) == [("EWR", "tenant_volume", True, False, False)]


def test_what_could_not_be_sent_is_sent_when_kafka_is_back_also_its_end(run: Settings) -> None:
    store_hours(run, "EWR", 2_000)
    away = run.with_changes({"kafka.bootstrap": "127.0.0.1:9"})
    with pytest.raises(UnavailableError, match="Kafka"):
        run_once(away)
    assert alarms(run) == [("EWR", "tenant_volume", False, False, False)]
    assert run_once(run, AT_ONCE).sent == 2
    assert [status for _, _, status in statuses(run)] == ["firing", "resolved"]
    assert alarms(run) == [("EWR", "tenant_volume", True, True, True)]


def test_a_dropped_database_session_is_made_again(run: Settings) -> None:
    with closing(watch.QuotaMonitor(run)) as monitor:
        monitor.run_once()
        assert end_sessions(run, "quotas")
        with pytest.raises(UnavailableError, match="Postgres"):
            monitor.run_once()
        store_hours(run, "EWR", 2_000)
        assert monitor.run_once().sent == 1


def test_a_second_monitor_of_a_run_is_refused(run: Settings) -> None:
    store_hours(run, "EWR", 2_000)
    with closing(watch.QuotaMonitor(run)) as first, closing(watch.QuotaMonitor(run)) as second:
        first.run_once()
        with pytest.raises(StandbyError, match="another `quotas`"):
            second.run_once()
        first.close()
        assert second.run_once().sent == 0


def test_missing_tables_are_reported_with_the_command_that_makes_them(run: Settings) -> None:
    with pytest.raises(TidemarkError, match="db migrate"):
        run_once(run.with_changes({"run_id": "nothere"}))


def test_the_monitor_never_changes_usage(run: Settings) -> None:
    def usage() -> list[tuple[Any, ...]]:
        with connected(run) as connection:
            query = "SELECT tenant_id, customer_id, n, total, updated_at FROM usage_hour ORDER BY 1, 2"
            return connection.execute(query).fetchall()

    store_hours(run, "EWR", 2_000, series=3)
    before = usage()
    run_once(run)
    run_once(run, AT_ONCE)
    assert usage() == before


def environment(run: Settings) -> dict[str, str]:
    return {**os.environ, **run.with_changes({"quotas.interval_s": 1}).environment()}


def test_the_running_monitor_raises_an_alarm_and_ends_cleanly_on_sigterm(run: Settings, tmp_path: Path) -> None:
    log = tmp_path / "watch.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(SERVE, env=environment(run), stderr=stderr)
        try:
            store_hours(run, "EWR", 2_000)
            deadline = time.monotonic() + 30
            while alarms(run) != [("EWR", "tenant_volume", True, False, False)]:
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
    lines = role_lines(log)
    assert [line["event"] for line in lines] == ["started", "firing", "checked", "stopping", "stopped"]
    assert (lines[1]["role"], lines[1]["level"]) == ("quotas", "info")
    assert (lines[1]["tenant_id"], lines[1]["rule"], lines[1]["value"]) == ("EWR", "tenant_volume", 2_000)
    assert statuses(run) == [("pipeline.tenant_volume", "EWR", "firing")]


def test_the_running_monitor_goes_on_when_the_tables_come_later(stack: Any, tmp_path: Path) -> None:
    # Given a watch that is started before anything is migrated, as a supervisor would ...
    run = stack.settings.with_changes({"run_id": "tbeforetables", **BOUNDS})
    log = tmp_path / "watch.log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(SERVE, env=environment(run), stderr=stderr)
        try:
            wait_for(log, "failed")
            migrate.migrate(run)
            # ... then it fails until the tables are there, and not after.
            wait_for(log, "checked")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()
            process.wait()
            with postgres.connect(run.postgres) as connection:
                connection.execute("DROP SCHEMA IF EXISTS usage_tbeforetables CASCADE")


def wait_for(log: Path, event: str) -> None:
    deadline = time.monotonic() + 30
    while f'"event": "{event}"' not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)


def test_check_prints_the_biggest_tenants_and_what_fires(run: Settings) -> None:
    store_hours(run, "EWR", 2_000)
    store_hours(run, "JFK", 10)
    run_once(run)
    call = [sys.executable, "-c", COMMAND, "quotas", "check", "--json"]
    done = subprocess.run(call, env=environment(run), check=True, capture_output=True, text=True)
    document = json.loads(done.stdout)
    volumes = [(t["tenant_id"], t["value"], t["over"]) for t in document["tenants"] if t["rule"] == "tenant_volume"]
    assert volumes == [("EWR", 2_000, True), ("JFK", 10, False)]
    assert [(alarm["tenant_id"], alarm["rule"]) for alarm in document["firing"]] == [("EWR", "tenant_volume")]
    assert document["promoted"] == []
    # What a promoted replay has stored is another run's.
    replay = run.with_changes({"run_id": run.names.replay("r")})
    promoted(run, replay, 0, 0)
    shown = subprocess.run(call[:-1], env=environment(run), check=True, capture_output=True, text=True)
    assert "firing" in shown.stdout
    assert "200.0%" in shown.stdout
    assert f"--run-id {replay.run_id}" in shown.stderr
