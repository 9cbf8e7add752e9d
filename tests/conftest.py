"""The stack the integration and chaos tiers share: started once a run on free ports, always stopped."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local.paths import Paths
from infra.local.stack import Stack
from tidemark.core.settings import FILE_ENV, Settings, load

# Logs and data of the last run stay here, to be looked into after a failure; the next run begins with none. A second
# run at the same time needs a folder of its own.
STATE_DIR = Path(os.environ.get("TIDEMARK_TEST_STATE") or Path(__file__).parents[1] / ".tidemark" / "test")


@dataclass(frozen=True)
class RunningStack:
    """Real services; `settings` reach them, `local` stops and starts them."""

    local: Stack
    settings: Settings


@pytest.fixture(scope="session")
def stack() -> Iterator[RunningStack]:
    """Kafka, TimescaleDB, Redis and a Flink cluster of this test run alone."""
    local = Stack(Paths.of(STATE_DIR))
    local.clean()
    before = os.environ.get(FILE_ENV)
    try:
        local.up()
        os.environ[FILE_ENV] = str(local.paths.settings)
        yield RunningStack(local, load())
    finally:
        local.down()
        if before is None:
            os.environ.pop(FILE_ENV, None)
        else:
            os.environ[FILE_ENV] = before
