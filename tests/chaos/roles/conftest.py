"""One world for all drills of roles: its broker and jobs take minutes to start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.roles.world import World, world


@pytest.fixture(scope="package")
def here(stack: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Everything behind its proxies."""
    with world(stack, "rolefaults", tmp_path_factory.mktemp("roles")) as made:
        yield made
