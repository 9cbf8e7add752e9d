"""Kafka away for longer than a transaction lives: what was counted and not yet committed is lost, and it is said."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from infra.local import probes
from infra.local.ports import read_ports
from jobs.flink import submit as flink_submit
from jobs.flink.rest import wait_until
from jobs.flink.restore import latest
from jobs.flink.submit import submit
from tests.chaos import short_transactions
from tests.chaos.frozen import processes, send
from tests.chaos.load import counts_on, measured, under_load
from tests.integration.replay.test_replay import oracle_of
from tests.ledger_lines import current_differences
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tests.warm_client import WarmClient
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import dump
from tidemark.core.kafka.transactions import ABORTED, Transaction, transactions
from tidemark.health.monitor import Monitor
from tidemark.oracle.deltas import committed_deltas
from tidemark.replay import run as replay_run
from tidemark.replay.promotion import promote

pytestmark = pytest.mark.drill

WITHIN_S, ATTEMPTS = 120.0, 150
# What the JobManager takes to complete a checkpoint that all tasks have acknowledged.
COMPLETES_S = 0.5
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


@contextmanager
def short_lived(client: WarmClient) -> Iterator[None]:
    """Submit `meter` with transactions that live for seconds."""
    script = Path(short_transactions.__file__)

    def flink_run(settings: Any, asked: Path, *arguments: Any) -> str:
        is_meter = asked.parent.name == "meter"
        return client.flink_run(
            settings, script if is_meter else asked, *arguments, named_as="meter" if is_meter else ""
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flink_submit, "flink_run", flink_run)
        yield


def pending(run: Pipeline) -> list[Transaction]:
    """Transactions that the newest checkpoint of `meter` counts as written, and that are not committed."""
    name = run.settings.names.job("meter")
    point = latest(run.settings, name)
    assert point is not None
    return [one for one in transactions(run.settings.kafka, name, {"Ongoing"}) if one.number <= point.number]


def freeze_before_commit(stack: Any, run: Pipeline, seed: int) -> list[int]:
    """Stop the TaskManager when it has taken part in a checkpoint, and before it commits that; its processes.

    The JobManager completes the checkpoint without it. When that is cannot be seen from outside: tried at random.
    """
    chance = random.Random(seed)
    pids = processes(stack, "taskmanager")
    point = latest(run.settings, run.settings.names.job("meter"))
    assert point is not None
    folder = Path(point.path).parent
    for _ in range(ATTEMPTS):
        begun = set(folder.iterdir())
        wait_until(lambda begun=begun: bool(set(folder.iterdir()) - begun), WITHIN_S, "a checkpoint", every_s=0.001)  # type: ignore[misc]
        time.sleep(chance.uniform(0, 0.3))
        send(pids, signal.SIGSTOP)
        time.sleep(COMPLETES_S)
        if any("-deltas-" in one.id for one in pending(run)):
            return pids
        send(pids, signal.SIGCONT)
        time.sleep(chance.uniform(0, 0.3))
    raise AssertionError(f"not once in {ATTEMPTS} attempts was a checkpoint complete and not committed")


def kafka_away(stack: Any, seconds: float) -> None:
    """Kafka ends, and comes back after some seconds."""
    ports = read_ports(stack.local.paths.ports)
    assert ports is not None
    stack.local.supervisor.stop_program("kafka")
    time.sleep(seconds)
    stack.local.supervisor.start_program("kafka")
    wait_until(lambda: probes.ask("kafka", ports, stack.local.paths).ready, WITHIN_S, "Kafka to come back")


def fired(run: Pipeline) -> list[str]:
    """Summaries of alerts about checkpoints of `meter`."""
    sent = [json.loads(record.value or b"") for record in dump(run.settings.kafka, run.settings.names.alerts)]
    return [
        one["data"]["summary"] for one in sent
        if one["type"] == "pipeline.checkpoints" and one["data"]["evidence"]["subject"] == "meter"
    ]  # fmt: skip


@contextmanager
def outlived(stack: Any, run: Pipeline, seed: int) -> Iterator[list[int]]:
    """A checkpoint is complete and not committed, and its transactions are aborted; the TaskManager stands still."""
    pids = freeze_before_commit(stack, run, seed)
    try:
        lost = {one.id for one in pending(run)}
        name = run.settings.names.job("meter")
        with measured("transaction time-out: job and Kafka away, until Kafka has aborted what nobody commits"):
            kafka_away(stack, short_transactions.TIMEOUT_S)
            wait_until(
                lambda: lost <= {one.id for one in transactions(run.settings.kafka, name, ABORTED)}, WITHIN_S,
                "Kafka to abort it",
            )  # fmt: skip
        yield pids
    finally:
        send(pids, signal.SIGCONT)


def test_state_whose_transactions_were_aborted_is_refused_and_a_replay_is_exact(
    stack: Any, tmp_path: Path, warm_client: WarmClient
) -> None:
    records = list(generate(events=20_000, seed=45))
    with pipeline(stack.settings, "outlived", CATALOG, tmp_path) as run, short_lived(warm_client):
        run.start()
        with under_load(run, records):
            run.wait_committed(len(records) // 20)
            with outlived(stack, run, 45):
                job = run.rest.active(run.settings.names.job("meter"))
                assert job is not None
                run.rest.cancel(job.id)
            run.cancel()
        with pytest.raises(TidemarkError, match="was not committed in time") as refused:
            submit(run.settings, "meter")
        print(refused.value)  # noqa: T201 - what an operator reads
        with measured("transaction time-out: until a replay is what people read"):
            request = replay_run.Request("mended", "test", BEGIN)
            replay_run.finish(run.settings, replay_run.start(run.settings, request))
            promote(run.settings, "mended", "test")
        with oracle_of(run, CATALOG, lenient=True) as oracle:
            assert current_differences(oracle, run.settings) == []
        Pipeline(run.settings.with_changes({"run_id": run.settings.names.replay("mended")}), CATALOG).cancel()


def test_what_a_job_goes_on_without_is_an_alert(stack: Any, tmp_path: Path, warm_client: WarmClient) -> None:
    records = list(generate(events=20_000, seed=46))
    with pipeline(stack.settings, "unsaid", CATALOG, tmp_path) as run, short_lived(warm_client):
        run.start()
        with under_load(run, records):
            run.wait_committed(len(records) // 20)
            with outlived(stack, run, 46):
                pass
            counts_on(run, WITHIN_S)
        run.wait_drained()
        # Flink goes on as if all were written ...
        with run.oracle() as oracle:
            assert committed_deltas(oracle, run.settings).events < oracle.counts().counted
        # ... which the first look of the role `health` says.
        with closing(Monitor(run.settings)) as monitor:
            monitor.check()
        (summary,) = fired(run)
        assert "Kafka has aborted" in summary
        print(summary)  # noqa: T201 - what an operator reads
