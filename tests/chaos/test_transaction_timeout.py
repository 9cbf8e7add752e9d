"""Kafka away for longer than a transaction lives: what was counted and not yet committed is lost, and it is said."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
from tests.chaos.load import measured, under_load
from tests.pipeline import Pipeline, pipeline
from tests.streams import CATALOG, generate
from tests.warm_client import WarmClient
from tidemark.core.errors import TidemarkError
from tidemark.core.kafka import dump
from tidemark.core.kafka.transactions import ABORTED, Transaction, transactions
from tidemark.health.monitor import Monitor
from tidemark.oracle.deltas import committed_deltas
from tidemark.replay import run as replay_run

pytestmark = pytest.mark.drill

WITHIN_S, ATTEMPTS = 120.0, 300
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


def completed(folder: Path) -> set[Path]:
    """Metadata of the checkpoints of a job, which Flink writes last."""
    return set(folder.glob("chk-*/_metadata"))


def freeze_before_commit(stack: Any, run: Pipeline, seed: int) -> list[int]:
    """Stop the TaskManager between a checkpoint and the commit of its transactions; its processes, the JVM last."""
    chance = random.Random(seed)
    pids = processes(stack, "taskmanager")
    jvm = max(pids, key=lambda pid: int(Path(f"/proc/{pid}/statm").read_text().split()[0]))
    point = latest(run.settings, run.settings.names.job("meter"))
    assert point is not None
    folder = Path(point.path).parent
    for _ in range(ATTEMPTS):
        before = completed(folder)
        deadline = time.monotonic() + WITHIN_S
        while not completed(folder) - before:
            assert time.monotonic() < deadline, "no checkpoint was completed"
        time.sleep(chance.uniform(0, 0.01))
        os.kill(jvm, signal.SIGSTOP)
        if pending(run):
            send(pids, signal.SIGSTOP)
            return pids
        os.kill(jvm, signal.SIGCONT)
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


def test_an_outage_longer_than_a_transaction_lives_is_refused_and_a_replay_is_exact(
    stack: Any, tmp_path: Path, warm_client: WarmClient
) -> None:
    records = list(generate(events=20_000, seed=45))
    with pipeline(stack.settings, "outlived", CATALOG, tmp_path) as run, short_lived(warm_client):
        run.start()
        with under_load(run, records):
            run.wait_committed(len(records) // 20)
            pids = freeze_before_commit(stack, run, seed=45)
            waiting = pending(run)
            with measured("transaction time-out: Kafka and the job away"):
                kafka_away(stack, short_transactions.TIMEOUT_S)
                lost = {one.id for one in waiting}
                wait_until(
                    lambda: lost <= {one.id for one in transactions(
                        run.settings.kafka, run.settings.names.job("meter"), ABORTED)},
                    WITHIN_S, "Kafka to abort what nobody commits",
                )  # fmt: skip
            # Flink goes on as if they were written ...
            send(pids, signal.SIGCONT)
            now = run.committed()
            wait_until(lambda: run.committed() > now, WITHIN_S, "the job to go on")
        run.wait_drained()
        with run.oracle() as oracle:
            assert committed_deltas(oracle, run.settings).events < oracle.counts().counted
        # ... which the role `health` says ...
        monitor = Monitor(run.settings)
        try:
            with measured("transaction time-out: until the alert"):
                monitor.check()
        finally:
            monitor.close()
        (summary,) = fired(run)
        assert "Kafka has aborted" in summary
        print(summary)  # noqa: T201
        # ... and `submit` refuses to go on from.
        run.cancel()
        with pytest.raises(TidemarkError, match="was not committed in time") as refused:
            submit(run.settings, "meter")
        print(refused.value)  # noqa: T201
        with measured("transaction time-out: a replay has counted all"):
            replay = replay_run.start(run.settings, replay_run.Request("mended", "test", BEGIN))
            replay_run.finish(run.settings, replay)
        rebuilt = Pipeline(replay_run.run_settings(run.settings, replay), CATALOG)
        try:
            with rebuilt.oracle() as oracle:
                assert committed_deltas(oracle, rebuilt.settings).equal
        finally:
            rebuilt.cancel()
