"""Everything lost but archive and backup: on empty machines all comes back, and equals the oracle over the archive."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local.paths import Paths
from infra.local.stack import Stack
from jobs.flink.submit import JOBS, submit
from tests.chaos.losses import Clock, say
from tests.chaos.test_redis_away import redis_sync
from tests.conftest import STATE_DIR, RunningStack, _settings_from, by_flink_run
from tests.ledger_lines import ask, closed_lines, current_periods, oracle_lines
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, StreamRecord, generate
from tidemark.archive import adopt, archiver, publish
from tidemark.backup import make, manifest, recount, restore
from tidemark.billing import close as billing_close
from tidemark.billing import outbox
from tidemark.billing.decide import CloseRequest
from tidemark.core import topics
from tidemark.core.places import Place
from tidemark.core.settings import Settings

pytestmark = pytest.mark.drill

# Long after the last event of the stream: its periods are final then.
LATER = datetime(2024, 5, 20, tzinfo=UTC)


def last_of_all() -> list[StreamRecord]:
    """An event of a later time in each partition: by then everything before has arrived."""
    at_ms = int(LATER.timestamp() * 1_000)
    event = {"tenant_id": "initech", "customer_id": "peter", "event_type": "call", "timestamp": LATER.isoformat()}
    return [
        StreamRecord(part, at_ms, b"peter", json.dumps(event | {"event_id": f"last-{part}", "quantity": 1}).encode())
        for part in range(4)
    ]


@contextmanager
def empty_machines(lost: RunningStack, folder: Path) -> Iterator[RunningStack]:
    """The stack ended, and another one in a folder of its own; the first one is back at the end, for other drills."""
    made = Stack(Paths.of(folder))
    lost.local.down()
    try:
        made.up()
        with _settings_from(made.paths.settings) as settings:
            yield RunningStack(made, settings)
    finally:
        made.clean()
        lost.local.up()


def ledger_of(run: Settings) -> list[Any]:
    return ask(run, "SELECT topic, seq, key, body FROM {billing}.outbox ORDER BY seq")


def test_all_comes_back_from_archive_and_backup(stack: Any, tmp_path: Path) -> None:
    records = list(generate(events=20_000, seed=34))
    half = len(records) // 2
    kept: dict[str, Any] = {"archive.dir": (tmp_path / "archive").as_uri(), "close.settle_s": 1}
    with pipeline(stack.settings, "allost", CATALOG, tmp_path, **kept) as run:
        run.start()
        run.send(records[:half])
        run.wait_drained()
        archiver.run(run.settings)
        run.send([*records[half:], *last_of_all()])
        run.wait_offsets()
        assert billing_close.close(run.settings, "test", CloseRequest(approved=True)).closes
        place, _ = make.run(run.settings, str(tmp_path / "backup"), say)
        # Given an archive that is newer than the backup, ...
        archiver.run(run.settings)
        closed, ledger = current_periods(run.settings), ledger_of(run.settings)
        lines = closed_lines(run.settings)
    # ... when all services and their disks are gone, ...
    clock = Clock("everything lost")
    with empty_machines(stack, STATE_DIR.with_name(f"{STATE_DIR.name}-new")) as new, by_flink_run():
        clock.note("machines")
        base = run.settings.model_copy(update=dict(services(new.settings)))
        with clock.step("backup"):
            restore.run(base, Place(place.uri, base.s3, "the backup"), manifest.read(place), say)
        with clock.step("archive"):
            assert adopt.adopt(base, say).rows > 0
            fresh = base.with_changes({"topics.events": f"{base.topics.events}.2"})
            for source, topic in (
                (base.topics.events, fresh.topics.events),
                (base.topics.redrive, fresh.topics.redrive),
            ):
                publish.publish(fresh, source, topic)
        topics.apply(fresh, create_time=True)
        outbox.publish(fresh, again=True)
        recount.clear(fresh, "test")
        back = Pipeline(fresh, CATALOG)
        with clock.step("counted anew"):
            for job in JOBS:
                back.rest.wait_running(submit(fresh, job, from_beginning=True).job_id)
            back.wait_drained()
            with redis_sync(fresh), back.oracle() as oracle:
                # ... then every number is that of the archive, ...
                back.assert_exact(oracle)
                clock.print("what came after the last archive run, and what people did after the backup")
                # ... the ledger is as it was published, and nothing is corrected.
                assert oracle.counts().offsets_in == len(records) + 4
                assert (current_periods(fresh), closed_lines(fresh), ledger_of(fresh)) == (closed, lines, ledger)
                back.wait_offsets()
                done = billing_close.close(fresh, "test", CloseRequest(approved=True))
                assert (done.corrections, done.closes) == (0, 0)
                assert oracle_lines(oracle, fresh) == closed_lines(fresh)
        back.cancel()


def services(found: Settings) -> Iterator[tuple[str, Any]]:
    """Where the services are: all else is the settings file, which is kept where code is."""
    for name in ("kafka", "postgres", "redis", "flink", "s3"):
        yield name, getattr(found, name)
