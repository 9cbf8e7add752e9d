"""The game day itself: every fault raises its alert, is mended, and in the end nothing was lost or counted twice.

GAME_DAY_SEED: the order of the faults; GAME_DAY_FAULTS: how many of them; GAME_DAY_HOLD_S: how long each stays after
its alert; GAME_DAY_REPORT: file of the report.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.game_day.day import day, write_settings
from tests.chaos.game_day.faults import ALL, chosen
from tests.chaos.game_day.report import Outcome, markdown, runbook_of
from tests.chaos.roles.world import world
from tests.conftest import STATE_DIR

pytestmark = pytest.mark.drill
SETTINGS = STATE_DIR / "game-day.yaml"


def say(text: str) -> None:
    sys.__stderr__.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")  # type: ignore[union-attr]


def test_a_game_day(stack: Any, tmp_path: Path) -> None:
    seed = int(os.environ.get("GAME_DAY_SEED") or 1)
    most, hold_s = int(os.environ.get("GAME_DAY_FAULTS") or len(ALL)), float(os.environ.get("GAME_DAY_HOLD_S") or 0)
    report = Path(os.environ.get("GAME_DAY_REPORT") or STATE_DIR / "game-day.md")
    begun, outcomes, sent = datetime.now(UTC), list[Outcome](), 0
    try:
        with world(stack, "gameday", tmp_path) as here, day(here, tmp_path, hold_s) as on:
            write_settings(on.world.proxied, SETTINGS)
            say(f"settings for commands: TIDEMARK_CONFIG={SETTINGS}; Prometheus: {on.prometheus_url}")
            for scenario in chosen(seed, most):
                outcomes.append(on.play(scenario))
                say(f"{runbook_of(scenario.alert)} after {outcomes[-1].alerted_s:.0f} s: {scenario.name}")
            sent = on.settle()
    finally:
        report.write_text(markdown(seed, begun, outcomes, sent), encoding="utf-8")
        say(f"report: {report}")
    assert len(outcomes) == min(most, len(ALL))
