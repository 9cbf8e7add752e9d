"""How `flink run` starts a job: arguments and settings in, a compiled plan submitted."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any

from pyflink.table import EnvironmentSettings, TableEnvironment

from jobs.flink.bounds import Bounds
from jobs.flink.plans import execute_plan
from tidemark.core.settings import Settings, load

Planner = Callable[[TableEnvironment, Settings, Bounds], dict[str, Any]]


def run(planner: Planner, argv: Sequence[str] | None = None) -> None:
    """Submit the job that `planner` makes; the options are those `tidemark submit` passes on."""
    settings, bounds = parse(argv)
    env = TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
    execute_plan(env, planner(env, settings, bounds))


def parse(argv: Sequence[str] | None) -> tuple[Settings, Bounds]:
    """Settings and range of a run, from the options that `tidemark submit` passes on."""
    parser = argparse.ArgumentParser(description=run.__doc__)
    parser.add_argument("--run-id", default=None)
    parser.add_argument("--from", dest="start", default="")
    parser.add_argument("--to", dest="end", default="")
    parser.add_argument("--restored", action="store_true")
    arguments = parser.parse_args(argv)
    return load(run_id=arguments.run_id), Bounds(arguments.start, arguments.end, arguments.restored)
