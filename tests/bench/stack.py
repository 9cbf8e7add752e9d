"""The stack of the benchmarks: its own, so that nothing else runs on it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.local.paths import Paths
from infra.local.stack import Stack
from jobs.flink.rest import FlinkRest, wait_until
from tidemark.core.settings import FILE_ENV


@contextmanager
def bench_stack() -> Iterator[Stack]:
    """A running stack whose settings are the ones that `load` finds; stopped at the end, its data removed."""
    paths = Paths.of(Path(".tidemark/bench"))
    stack = Stack(paths)
    stack.up()
    os.environ[FILE_ENV] = str(paths.settings)
    try:
        yield stack
    finally:
        os.environ.pop(FILE_ENV)
        stack.clean()


def wait_ended(rest: FlinkRest, name: str) -> None:
    """Wait until a job that was cancelled has ended."""
    wait_until(lambda: rest.active(name) is None, 60, f"{name} to end")
