"""Fixtures of the tests on real services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import holding_stack
from tests.integration.storage import OwnRedis


@pytest.fixture(scope="module", autouse=True)
def _beside_others(submitted_warm: None) -> Iterator[None]:  # noqa: ARG001
    with holding_stack(alone=False):
        yield


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    """A Redis of the test alone, which it may freeze or kill."""
    server = OwnRedis(tmp_path)
    server.start()
    yield server
    server.kill()
