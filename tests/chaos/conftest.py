"""Fixtures of the drills: each has the stack alone, because it disturbs it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conftest import holding_stack


@pytest.fixture(scope="module", autouse=True)
def _alone(submitted_warm: None) -> Iterator[None]:  # noqa: ARG001
    with holding_stack(alone=True):
        yield
