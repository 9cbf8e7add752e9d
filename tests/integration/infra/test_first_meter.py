"""The first commands of the README, as they stand there, on a run of this test."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.flink.rest import wait_until
from jobs.flink.submit import submit_all
from tests.integration.catalog.own_database import own_database
from tests.pipeline import HASTY, Pipeline
from tidemark.core import migrate, topics
from tidemark.core.settings import Settings

ROOT = Path(__file__).parents[3]


def commands() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("<!-- first number -->")[2]
    block = re.search(r"```\n(.+?)```", text, re.DOTALL)
    assert block is not None
    return [line.partition("  #")[0].strip() for line in block[1].splitlines()]


@pytest.fixture
def settings(stack: Any) -> Iterator[Settings]:
    """A run with a database of its own: its catalog is empty, as that of somebody who begins."""
    with own_database(stack, "first") as own:
        yield own.with_changes({"run_id": "first", "topics.events": "test.first", **HASTY})


@pytest.mark.usefixtures("submitted_warm")
def test_the_first_number_of_ones_own_events(settings: Settings) -> None:
    up, activate, *own = commands()
    assert (up, activate, len(own)) == ("make up", "source .venv/bin/activate", 3)
    topics.apply(settings)
    migrate.migrate(settings)
    environment = os.environ | settings.environment()
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"

    def output(command: str, *, may_fail: bool = False) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command],
            cwd=ROOT,
            env=environment,
            check=False,
            text=True,
            capture_output=True,
        )
        assert may_fail or done.returncode == 0, done.stderr
        return done.stdout

    try:
        submit_all(settings)
        *before, usage = own
        for command in before:
            output(command)
        wait_until(lambda: "1830" in output(usage, may_fail=True), 120, "the usage of the first events")
        cells = [line.split("│")[1].strip() for line in output(usage).splitlines() if "│" in line]
        assert {"requests", "tokens"} <= set(cells)
    finally:
        Pipeline(settings, {}).cancel()
