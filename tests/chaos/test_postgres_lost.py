"""Postgres lost while events flow: restored from a backup, and counted anew from the deltas; both equal the oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.flink.submit import submit
from tests.chaos.losses import Clock, cancel, drop_database, make_database_anew, say
from tests.integration.catalog.own_database import own_database
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tidemark.backup import make, restore
from tidemark.core.errors import UsageError

pytestmark = pytest.mark.drill


def refused(run: Pipeline, why: str) -> None:
    """The newest state, which has rows behind it that the tables do not have, is not gone on from."""
    with pytest.raises(UsageError, match=why):
        submit(run.settings, "rollup")


def exact(run: Pipeline) -> None:
    run.wait_drained()
    with run.oracle() as oracle:
        run.assert_exact(oracle)


def test_postgres_comes_back_from_a_backup_or_from_the_deltas_alone(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=31))
    tenth = len(records) // 10
    with (
        own_database(stack, "lost") as database,
        pipeline(stack.settings.with_changes(database_of(database)), "pglost", CATALOG, tmp_path) as run,
    ):
        run.start()
        run.send(records[: 5 * tenth])
        run.wait_drained()
        place, made = make.run(run.settings, str(tmp_path / "backup"), say)
        assert made.state["rollup"]
        # Given rows that changed after the backup and never change again, and events that come while it is lost, ...
        run.send(records[5 * tenth : 7 * tenth])
        exact(run)
        drop_database(stack, run.settings)
        run.send(records[7 * tenth : 8 * tenth])
        # ... when the tables are restored and `rollup` goes on from the savepoint of the backup, ...
        clock = Clock("Postgres lost, from a backup")
        cancel(run, ["rollup"])
        with clock.step("restore"):
            make_database_anew(stack, run.settings)
            restore.run(run.settings, place, made, say)
        refused(run, "restored from a backup")
        with clock.step("deltas since"):
            submitted = submit(run.settings, "rollup", from_savepoint=made.state["rollup"])
            run.rest.wait_running(submitted.job_id)
            # ... then nothing is missing.
            exact(run)
        clock.print("0 events")

        # And without a backup, by the catalog and the deltas.
        run.send(records[8 * tenth : 9 * tenth])
        run.wait_drained()
        drop_database(stack, run.settings)
        run.send(records[9 * tenth :])
        clock = Clock("Postgres lost, from the deltas")
        cancel(run, ["rollup"])
        with clock.step("tables and catalog"):
            make_database_anew(stack, run.settings)
            run.prepare(tmp_path)
        refused(run, "made anew")
        with clock.step("all deltas"):
            submitted = submit(run.settings, "rollup", from_beginning=True)
            run.rest.wait_running(submitted.job_id)
            exact(run)
        clock.print("0 events; alerts' acknowledgements and the history of the catalog")


def database_of(settings: Any) -> dict[str, Any]:
    urls = settings.postgres.model_dump(mode="json", exclude={"passfile"})
    return {f"postgres.{name}": url for name, url in urls.items()}
