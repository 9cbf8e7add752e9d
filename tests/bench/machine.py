"""What the harness runs on: facts that stand in every result."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

from infra.versions import POSTGRES_MAJOR

_PACKAGES = ("apache-flink", "duckdb", "msgspec", "pyarrow", "redis")


def load() -> float:
    """Load of the last minute."""
    return round(os.getloadavg()[0], 2)


def facts() -> dict[str, Any]:
    """Cores, memory, kernel, processor, and the load before anything was started."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "cores": os.cpu_count() or 1, "memory_gib": round(memory, 1), "kernel": platform.release(),
        "cpu": _processor(), "load_before": load(),
    }  # fmt: skip


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Versions of what is measured."""
    return {
        "python": platform.python_version(), "postgres": str(POSTGRES_MAJOR),
        **{name: version(name) for name in _PACKAGES},
    }  # fmt: skip


def commit() -> tuple[str, bool]:
    """Commit of the checkout, and whether code differs from it."""
    changed = _git("status", "--porcelain", "--", ".", ":!tests/bench/results", ":!docs", ":!README.md")
    return _git("rev-parse", "HEAD"), bool(changed)


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()
