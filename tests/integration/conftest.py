"""Fixtures of the tests on real services."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import pytest

from tests.conftest import holding_stack, starts_jobs
from tests.integration.storage import OwnRedis


@pytest.fixture(scope="module", autouse=True)
def _beside_others(request: pytest.FixtureRequest, submitted_warm: None) -> Iterator[None]:  # noqa: ARG001
    """Let nobody kill Flink beneath jobs, nor beneath tests of the stack itself."""
    needs_flink = starts_jobs(request) or request.path.parent.name == "infra"
    with holding_stack(alone=False) if needs_flink else nullcontext():
        yield


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis of the test alone, which it may freeze or kill."""
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.kill()
