"""Replay benchmark: how fast usage is rebuilt against a live drain of the same backlog, and what it costs the live run.

    .venv/bin/python -m tests.bench.replay --events 2000000 --rounds 2

First both jobs drain the backlog as a live run, then as a replay, in turn (A B A B …), on one topic and cluster: what
is left once both run, until all is read (offsets of a completed checkpoint) and until all is in the rollups (settled).
Then the live run counts a steady stream, alone and beside a replay held to `--rate`, in turn: latency from due time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from jobs.flink.rest import FlinkRest, wait_until
from jobs.flink.submit import JOBS, submit
from tests.bench import load as events
from tests.bench.drain import LIMIT_S
from tests.bench.latency import measure
from tests.bench.stack import bench_stack, wait_ended
from tidemark.billing.watermark import drain
from tidemark.core import migrate, topics
from tidemark.core.kafka import Sender, committed_offsets, end_offsets
from tidemark.core.settings import Settings, load
from tidemark.replay import run as replay_run
from tidemark.replay.discard import discard
from tidemark.replay.record import run_settings

BEGIN = datetime(2020, 1, 1, tzinfo=UTC)
# The backlog is history: an hour that ended here, and arrived within it.
HOUR_END = datetime(2026, 1, 20, tzinfo=UTC)
END = datetime(2026, 2, 1, tzinfo=UTC)


def fill_history(settings: Settings, count: int, customers: int) -> None:
    """Send the backlog, each event as arriving at the end of its hour."""
    at_ms = int(HOUR_END.timestamp() * 1_000)
    with Sender(settings.kafka) as sender:
        for index, value in enumerate(events.backlog(count, customers, now_ms=at_ms)):
            partition = index % settings.topics.partitions
            sender.send(settings.topics.events, value, partition=partition, timestamp_ms=at_ms)


def end_jobs(settings: Settings) -> None:
    """Cancel both jobs of a run, and wait until they have ended."""
    rest = FlinkRest(settings.flink)
    for job in JOBS:
        running = rest.active(settings.names.job(job))
        if running is not None:
            rest.cancel(running.id)
            wait_ended(rest, settings.names.job(job))


def timed(settings: Settings, run: Settings) -> dict[str, Any]:
    """Seconds until a run that was just started has read, and stored, all there is."""
    ends = end_offsets(settings.kafka, settings.topics.events)
    group = run.names.group("meter")
    left = sum(ends.values()) - sum(committed_offsets(run.kafka, group, settings.topics.events).values())
    started = time.monotonic()
    wait_until(
        lambda: committed_offsets(run.kafka, group, settings.topics.events) == ends, LIMIT_S, "the topic to be read",
        every_s=0.1,
    )  # fmt: skip
    read_s = time.monotonic() - started
    drain(run)
    stored_s = time.monotonic() - started
    return {
        "left": left, "read_s": round(read_s, 1), "read_per_s": round(left / read_s), "stored_s": round(stored_s, 1),
        "stored_per_s": round(left / stored_s),
    }  # fmt: skip


def drained(settings: Settings, name: str) -> dict[str, Any]:
    """The backlog as a live run of its own."""
    run = settings.with_changes({"run_id": name})
    topics.apply(run, create_time=True, ledger=False)
    migrate.migrate(run, ledger=False)
    for job in JOBS:
        FlinkRest(run.flink).wait_running(submit(run, job).job_id)
    found = timed(settings, run)
    end_jobs(run)
    return {"what": "drain", **found}


def replayed(settings: Settings, name: str, rate: int = 0) -> dict[str, Any]:
    """The backlog as a replay with an end; it is thrown away after."""
    replay = replay_run.start(settings, replay_run.Request(name, "bench", BEGIN, END, events_per_s=rate))
    run = run_settings(settings, replay)
    found = timed(settings, run)
    discard(settings, name, "bench")
    return {"what": "replay", **found}


def beside(settings: Settings, live_rate: int, seconds: int, replay_rate: int, index: int) -> dict[str, Any]:
    """Latency of a live run, alone or beside a replay of the backlog held to a rate (0: alone)."""
    name = f"live_{index}"
    live = settings.with_changes({"run_id": name, "topics.events": f"bench.{name}"})
    topics.apply(live)
    migrate.migrate(live)
    job = submit(live, "meter").job_id
    FlinkRest(live.flink).wait_running(job)
    submit(live, "rollup")
    if replay_rate:
        request = replay_run.Request(f"beside_{index}", "bench", BEGIN, END, events_per_s=replay_rate)
        replay_run.start(settings, request)
    found = measure(live, live_rate, seconds)
    if replay_rate:
        discard(settings, f"beside_{index}", "bench")
    end_jobs(live)
    return {"what": "latency", "replay_per_s": replay_rate, **found}


def say(found: dict[str, Any]) -> dict[str, Any]:
    """Print one JSON line."""
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line per measurement, and the ratios within each round."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--customers", type=int, default=1_000)
    parser.add_argument("--live-rate", type=int, default=1_000)
    parser.add_argument("--rate", type=int, default=5_000, help="events a second of the replay beside the live run")
    parser.add_argument("--seconds", type=int, default=90)
    arguments = parser.parse_args(argv)
    with bench_stack():
        settings = load(**{"topics.events": "bench.backlog"})
        topics.apply(settings, create_time=True)
        migrate.migrate(settings)
        events.apply_catalog(settings)
        fill_history(settings, arguments.events, arguments.customers)
        stamp = int(time.time())
        for index in range(arguments.rounds):
            live = say(drained(settings, f"drain_{index}_{stamp}"))
            again = say(replayed(settings, f"replay_{index}_{stamp}"))
            ratios = {name: round(again[name] / live[name], 3) for name in ("read_per_s", "stored_per_s")}
            say({"what": "ratio replay to drain", **ratios, "times_real_time": round(again["stored_per_s"] / 1_000, 1)})
        for index in range(arguments.rounds):
            figures = [
                say(beside(settings, arguments.live_rate, arguments.seconds, rate, 2 * index + place))
                for place, rate in enumerate((0, arguments.rate))
            ]
            say({"what": "ratio p99 beside to alone", "p99": round(figures[1]["p99_ms"] / figures[0]["p99_ms"], 2)})


if __name__ == "__main__":
    main()
