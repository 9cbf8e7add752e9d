"""Checkpoints and savepoints lost: no job starts from nothing beside what it wrote; a replay takes over, exact."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import wait_until
from jobs.flink.restore import checkpoint_dir, place, savepoint_dir
from jobs.flink.submit import JOBS, submit
from tests.chaos.losses import Clock, cancel
from tests.ledger_lines import current_differences
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.core.errors import UsageError
from tidemark.core.kafka import dump
from tidemark.oracle.oracle import Oracle, Rules
from tidemark.replay import run as replay_run
from tidemark.replay.promotion import promote
from tidemark.replay.record import run_settings
from udfs.values import epoch_ms

pytestmark = pytest.mark.drill

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


def lose_state(run: Pipeline) -> None:
    for job in JOBS:
        name = run.settings.names.job(job)
        for uri in (checkpoint_dir(run.settings.flink, name), savepoint_dir(run.settings.flink, name)):
            place(run.settings, uri).remove_all()


def test_state_that_is_lost_is_made_again_by_a_replay(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=33))
    part = len(records) * 8 // 10
    with pipeline(stack.settings, "statelost", CATALOG, tmp_path) as run:
        run.start()
        run.send(records[:part])
        run.wait_drained()
        cancel(run, JOBS)
        lose_state(run)
        clock = Clock("state lost")
        # Given deltas that were written, then `meter` does not add them again; ...
        with pytest.raises(UsageError, match="would add them again"):
            submit(run.settings, "meter")
        with pytest.raises(UsageError, match="would add them again"):
            submit(run.settings, "meter", from_beginning=True)
        # ... `rollup` makes its state again from them: its tables are right and stay so.
        with clock.step("rollup from the deltas"):
            run.rest.wait_running(submit(run.settings, "rollup", from_beginning=True).job_id)
        with clock.step("replay"):
            replay = replay_run.start(run.settings, replay_run.Request("back", "test", BEGIN))
            made = Pipeline(run_settings(run.settings, replay), CATALOG)
        try:
            run.send(records[part:])
            with clock.step("caught up"):
                replay_run.finish(run.settings, replay)
                promote(run.settings, "back", "test")
            made.wait_drained()
            # What was too late when it arrived is counted by a replay, but for what comes after its begin.
            with lenient(run, replay.late_until) as oracle:
                wait_until(
                    lambda: current_differences(oracle, run.settings) == [], 60, "all to read as the oracle says", 2.0
                )
            clock.print("0 events")
        finally:
            made.cancel()


def lenient(run: Pipeline, late_until: datetime) -> Oracle:
    """The oracle by the rule of replays."""
    events = run.settings.events
    rules = Rules(
        grace_ms=events.grace_s * 1_000, future_tolerance_ms=events.future_tolerance_s * 1_000,
        default_tenant=events.default_tenant, late_until_ms=epoch_ms(late_until),
    )  # fmt: skip
    records = dump(run.settings.kafka, run.settings.topics.events)
    return Oracle(dict(run.catalog), ((*one[:3], one.value) for one in records), rules)
