"""Both jobs on a real stack, as a run of their own: topics, tables, keys and state belong to one test."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.flink.bounds import Bounds
from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS, submit, submit_all
from tests.streams import StreamRecord
from tests.unit.fuzz.records import corpus, foreign_deltas
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, topics
from tidemark.core.kafka import Sender, committed_offsets, dump, end_offsets
from tidemark.core.settings import Settings
from tidemark.dead_letters import records as dlq
from tidemark.demo.report import recompute, wait_until_counted
from tidemark.oracle.alerts import committed_alerts
from tidemark.oracle.compare import compare_postgres, compare_redis
from tidemark.oracle.deltas import committed_deltas
from tidemark.oracle.oracle import Oracle
from udfs.alerts.event import Alert, parse

COUNTED_WITHIN_S = 180.0
HASTY = {
    "meter.tick_ms": 100, "meter.backlog_tick_ms": 300, "meter.checkpoint_interval_ms": 500,
    "rollup.checkpoint_interval_ms": 1_000, "rollup.minibatch_ms": 200, "catalog.refresh_s": 1, "live.refresh_s": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Pipeline:
    """A run of both jobs.

    Parameters
    ----------
    settings:
        Settings of the run, with a source topic of its own.
    catalog:
        Catalog document, for the oracle.
    """

    settings: Settings
    catalog: Mapping[str, Any]

    @property
    def rest(self) -> FlinkRest:
        return FlinkRest(self.settings.flink)

    def prepare(self, folder: Path) -> None:
        """Topics (arrival is what the test sends), tables and catalog."""
        topics.apply(self.settings, create_time=True)
        migrate.migrate(self.settings)
        file = folder / "catalog.yaml"
        # All runs of the shared database use one catalog, one after another: nothing of the last one may remain.
        file.write_text(yaml.safe_dump({"valid_from": "beginning", **self.catalog}))
        catalog_tool.apply(self.settings, file, backdate=True, prune=True, all_tenants=True)

    def submit(self, job: str, bounds: Bounds | None = None) -> str:
        """Submit a job and wait until it makes progress; its id."""
        job_id = submit(self.settings, job, bounds).job_id
        self.rest.wait_running(job_id)
        return job_id

    def start(self) -> None:
        """Submit both jobs and wait until they make progress."""
        submit_all(self.settings)

    def cancel(self) -> None:
        """End both jobs, whatever state they are in."""
        names = [self.settings.names.job(job) for job in JOBS]
        running = [job for name in names if (job := self.rest.active(name))]
        for job in running:
            self.rest.cancel(job.id)
        wait_until(lambda: not any(map(self.rest.active, names)), 60, f"{names} to end")

    def send(self, records: Iterable[StreamRecord]) -> None:
        """Send records to the partition and with the arrival they name."""
        with Sender(self.settings.kafka) as sender:
            for record in records:
                sender.send(
                    self.settings.topics.events,
                    record.value,
                    # The client refuses a record that has neither key nor value; the broker does not.
                    key=record.key if record.value is not None else record.key or b"",
                    partition=record.partition,
                    timestamp_ms=record.timestamp_ms,
                )

    def send_foreign(self) -> None:
        """What another program may write to internal topics: it must end nothing, and add nothing."""
        names = self.settings.names
        with Sender(self.settings.kafka) as sender:
            for topic in (names.deltas, names.dlq, names.reevaluations):
                for value in (*corpus(), *(foreign_deltas() if topic != names.reevaluations else ())):
                    sender.send(topic, value, key=b"foreign")

    def committed(self) -> int:
        """Source records that a completed checkpoint of `meter` covers."""
        group = self.settings.names.group("meter")
        return sum(committed_offsets(self.settings.kafka, group, self.settings.topics.events).values())

    def wait_committed(self, count: int) -> None:
        """Wait until `meter` has committed that many source records."""
        wait_until(lambda: self.committed() >= count, COUNTED_WITHIN_S, f"{count} records to be committed")

    def wait_offsets(self) -> None:
        """Wait until `meter` has committed the offsets of the whole source topic, on which closing and replays rely.

        An idle consumer commits them when its fetch has timed out, so up to 10 s after
        `wait_drained`: tests/pulse.py keeps it busy.
        """
        topic, group = self.settings.topics.events, self.settings.names.group("meter")
        ends = end_offsets(self.settings.kafka, topic)

        def passed() -> bool:
            done = committed_offsets(self.settings.kafka, group, topic)
            return all(done.get(partition, 0) >= end for partition, end in ends.items())

        wait_until(passed, COUNTED_WITHIN_S, f"{ends} of {topic} to be committed")

    def wait_drained(self) -> None:
        """Wait until the output of `meter` for the whole source topic is committed."""
        name = self.settings.names.job("meter")
        topic = self.settings.topics.events
        last = {partition: end - 1 for partition, end in end_offsets(self.settings.kafka, topic).items() if end}

        def read() -> bool:
            job = self.rest.active(name)
            return job is not None and self._has_read(job.id, last)

        def passed(since_ms: float) -> bool:
            job = self.rest.active(name)
            return job is not None and (self.rest.progress(job.id).triggered_ms or 0) > since_ms

        wait_until(read, COUNTED_WITHIN_S, f"{topic} to be read")
        # The first checkpoint after it holds it all; when a second one completes, the first has been committed.
        for which in ("holds", "has committed"):
            now_ms = time.time() * 1_000
            wait_until(lambda now_ms=now_ms: passed(now_ms), COUNTED_WITHIN_S, f"a checkpoint that {which} {topic}")  # type: ignore[misc]

    def _has_read(self, job_id: str, last: Mapping[int, int]) -> bool:
        """Whether the job has read these offsets of the partitions, or one that it goes on for has committed them."""
        topic = self.settings.topics.events
        read = read_offsets(self.rest, job_id, topic)
        if all(read.get(partition, -1) >= offset for partition, offset in last.items()):
            return True
        # Restored, it has read nothing of a partition before the next record: Flink says -1 then.
        committed = committed_offsets(self.settings.kafka, self.settings.names.group("meter"), topic)
        return all(
            max(read.get(partition, -1), committed.get(partition, 0) - 1) >= last[partition] for partition in last
        )

    def oracle(self) -> Oracle:
        """Independent recomputation of the raw topic, read back from Kafka."""
        return recompute(self.settings, dict(self.catalog))

    def dead_letters(self) -> Counter[str]:
        """Whole dead letters by reason."""
        return Counter(dlq.whole_and_partial(dlq.read_dead_letters(self.settings))[0])

    def partial_dead_letters(self) -> Counter[str]:
        """Refusals of single meters for counted events, by reason."""
        return Counter(dlq.whole_and_partial(dlq.read_dead_letters(self.settings))[1])

    def assert_exact(self, oracle: Oracle) -> None:
        """Everything stored, live, streamed and rejected equals the oracle's result, both ways, exactly."""
        wait_until_counted(self.settings, oracle, settle_s=COUNTED_WITHIN_S)
        counts = oracle.counts()
        assert counts.offsets_in == sum(end_offsets(self.settings.kafka, self.settings.topics.events).values())
        assert counts.offsets_in == counts.counted + counts.duplicates + sum(counts.rejected.values())
        deltas = committed_deltas(oracle, self.settings)
        assert deltas.repeated == 0
        assert deltas.events == counts.counted
        assert deltas.equal
        assert self.dead_letters() == Counter(counts.rejected)
        assert self.partial_dead_letters() == Counter(counts.partial)
        assert compare_postgres(oracle, self.settings) == []
        assert compare_redis(oracle, self.settings) == []
        alerts = committed_alerts(oracle, self.settings)
        assert alerts.equal, alerts

    def alerts(self) -> list[Alert]:
        """Committed alerts about limits, in the order of their tenants."""
        records = dump(self.settings.kafka, self.settings.names.alerts)
        result = [parse(record.value or b"") for record in records]
        return [alert for alert in result if alert.type.startswith("limit.")]


def read_offsets(rest: FlinkRest, job_id: str, topic: str) -> dict[int, int]:
    """Offset of the last record of each partition that the job has read since it was started."""
    pattern = re.compile(rf"\.topic\.{re.escape(topic.replace('.', '_'))}\.partition\.(\d+)\.currentOffset$")
    result = rest.metrics(job_id, pattern)
    return {int(pattern.search(name)[1]): int(value) for name, value in result.items()}  # type: ignore[index]


@contextmanager
def pipeline(
    settings: Settings, name: str, catalog: Mapping[str, Any], folder: Path, *, hasty: bool = True, **changes: Any
) -> Iterator[Pipeline]:
    """A prepared pipeline under the run id `name`; its jobs are ended at the end.

    Parameters
    ----------
    hasty:
        What the jobs do at intervals they do more often than by default, so that tests wait less.
    changes:
        Settings of the run.
    """
    # Redis and Postgres may answer late on a busy machine: what is not written, or has unknown limits, waits for the
    # sync, which does not run here.
    own = {
        "run_id": name,
        "topics.events": f"test.{name}",
        "redis.timeout_ms": 5_000,
        "meter.limits_wait_ms": 5_000,
        **(HASTY if hasty else {}),
        **changes,
    }
    run = settings.with_changes(own)
    made = Pipeline(run, catalog)
    made.prepare(folder)
    try:
        yield made
    finally:
        made.cancel()
