"""Every panel of the dashboards has data on a running demo, and is drawn."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.drill
ROOT = Path(__file__).parents[2]
LONGEST_S = 1_500


def test_every_panel_that_should_has_data_on_a_demo_with_live_traffic(tmp_path: Path) -> None:
    command = ["make", "dashboards", f"PICTURES={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=LONGEST_S)
    assert done.returncode == 0, done.stdout[-2_000:] + done.stderr[-2_000:]
    pictures = sorted(tmp_path.glob("*.png"))
    assert [one.stem for one in pictures] == ["tidemark-billing", "tidemark-pipeline", "tidemark-usage"]
    # An empty page compresses to a few kilobytes.
    assert all(one.stat().st_size > 30_000 for one in pictures)
