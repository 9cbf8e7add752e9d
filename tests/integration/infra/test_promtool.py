"""Prometheus' rules, by Prometheus' own tool: they parse, and each alert fires when it should and not before."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from infra import service_settings
from infra.local.debian import PROMTOOL, fetched

PROMETHEUS = Path(service_settings.__file__).parent / "prometheus"


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(fetched(*PROMTOOL)), *arguments]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "rules.yaml"), ("check", "config", "prometheus.yaml"), ("test", "rules", "rules_test.yaml")],
)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    done = run(PROMETHEUS, *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SUCCESS" in done.stdout


def test_a_bound_that_is_changed_fails_the_tests(tmp_path: Path) -> None:
    copied = tmp_path / "prometheus"
    shutil.copytree(PROMETHEUS, copied)
    rules = copied / "rules.yaml"
    rules.write_text(rules.read_text().replace("tidemark_lag_seconds) > 300", "tidemark_lag_seconds) > 200"))
    done = run(copied, "test", "rules", "rules_test.yaml")
    assert done.returncode != 0
    assert "TidemarkLag" in done.stdout + done.stderr
