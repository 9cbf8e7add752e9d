"""Faults of a game day: how each begins and is mended, and which alert it must raise, which leads to its runbook."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jobs.flink.rest import wait_until
from jobs.flink.submit import stop

if TYPE_CHECKING:
    from tests.chaos.game_day.day import Day

GONE_WITHIN_S = 120.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A fault.

    Parameters
    ----------
    name:
        What is done, for the report; who is on call is not given it.
    alert:
        Alert of Prometheus' rules that must fire; the section of docs/runbooks.md has the same name.
    about:
        Text that the labels of the alert hold: the job or role; empty where it is about no single one.
    mend:
        What ends it, for the report.
    fault:
        Begins it, and mends it with the end of the block.
    """

    name: str
    alert: str
    about: str
    mend: str
    fault: Callable[[Day], object]


@contextmanager
def _cut(day: Day, service: str, kind: str) -> Iterator[None]:
    with day.world.proxies[service].under(kind):  # type: ignore[arg-type]
        yield


@contextmanager
def _stopped(day: Day, job: str) -> Iterator[None]:
    stop(day.world.run, job)
    yield
    day.world.made.submit(job)


@contextmanager
def _killed(day: Day) -> Iterator[None]:
    day.serve.served.process.kill()
    wait_until(lambda: not day.serve.is_alive, GONE_WITHIN_S, "`tidemark serve` to end")
    yield
    day.start_serve()


ALL = (
    Scenario("the job rollup is stopped", "TidemarkJobDown", "rollup", "`tidemark submit rollup`",
             lambda day: _stopped(day, "rollup")),
    Scenario("the job meter is stopped", "TidemarkJobDown", "meter", "`tidemark submit meter`",
             lambda day: _stopped(day, "meter")),
    Scenario("`tidemark serve` is killed (-9)", "TidemarkServeDown", "", "`tidemark serve` is started again",
             _killed),
    Scenario("Postgres is a black hole to the roles", "TidemarkRoleFailing", "close", "the way to Postgres is back",
             lambda day: _cut(day, "postgres", "black_hole")),
    Scenario("Redis resets connections of the roles", "TidemarkRoleFailing", "live", "Redis takes connections again",
             lambda day: _cut(day, "redis", "reset")),
    Scenario("Kafka takes what the roles send and does not answer", "TidemarkRoleFailing", "archive",
             "the way to Kafka is back", lambda day: _cut(day, "kafka", "half_open")),
)  # fmt: skip


def chosen(seed: int, most: int) -> list[Scenario]:
    """Scenarios in the order of a seed, at most so many."""
    return random.Random(seed).sample(ALL, k=min(most, len(ALL)))
