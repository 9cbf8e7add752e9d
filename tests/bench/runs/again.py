"""A replay with an end against a live run over the same topic, both to rows."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.bench import truth
from tests.bench.events import Load
from tests.bench.report.results import Found
from tests.bench.runs import rows
from tests.bench.runs.drain import first_consumed_s, task_times
from tests.bench.world import Backlog, NotFinished, World, connected
from tidemark.core.settings import load
from tidemark.replay import run as replay_run
from tidemark.replay.discard import discard
from tidemark.replay.record import run_settings

# The backlog arrived so long ago that its hour is final.
DAYS_AGO = 5
BY = "bench"


def replayed(world: World, backlog: Backlog) -> float:
    """Events a second of a replay, from its first record to its last row written: it may be done before it is asked."""
    settings = load(**{"topics.events": backlog.topic})
    world.prepare(settings)
    world.number += 1
    name = f"again_{world.number}"
    end = datetime.fromtimestamp(backlog.truth.end_ms // 1_000 + 1, UTC)
    replay = replay_run.start(settings, replay_run.Request(name, BY, end - timedelta(hours=2), end))
    try:
        run = run_settings(settings, replay)
        job = world.rest().active(run.names.job("meter"))
        if job is None:
            raise NotFinished("the replay has no running `meter`")
        rows.wait_stored(world, rows.Target.of_ours(run), backlog, lambda: True)
        begin_s = first_consumed_s(task_times(world.rest(), job.id))
        with connected() as connection:
            return backlog.events / (rows.last_written_s(connection, run) - begin_s)
    finally:
        discard(settings, name, BY)


def run(world: World, load_of: Load, rounds: int) -> Found:
    """Live and replay in turn."""
    if not world.small:
        # Otherwise the live run, which comes first, would compile what the replay then has.
        rows.ours(world, world.backlog(replace(load_of, count=load_of.count // 4, seed=8), days_ago=DAYS_AGO))
    backlog = world.backlog(load_of, days_ago=DAYS_AGO)
    whole = replace(backlog, truth=truth.recompute(backlog.truth.file, backlog.truth.end_ms, replayed=True))
    found = Found()
    for _ in range(rounds):
        done = rows.ours(world, backlog)
        live = done.events / (done.written_s - done.begin_s)
        begun = time.monotonic()
        again = replayed(world, whole)
        world.say(f"  live {live:,.0f}, replay {again:,.0f} events/s, {time.monotonic() - begun:.0f} s")
        found.add("live", events_per_s=live)
        found.add("replay", events_per_s=again)
        found.add("replay to live", ratio=again / live)
    return found
