"""promtool, from Debian's packages: fetched once a machine, never installed, so that no Prometheus is started by it."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from infra.local.paths import cache_dir, locked

# A package of its own since trixie; before, part of Prometheus.
PACKAGES = ("promtool", "prometheus")


def promtool() -> Path:
    """Path of the program."""
    target = cache_dir() / "promtool"
    with locked(cache_dir() / ".promtool.lock", wait=True, what="promtool"):
        if not target.is_file():
            _fetch(target)
    return target


def _fetch(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        found = [name for name in PACKAGES if _download(name, folder)]
        assert found, f"none of {PACKAGES} could be downloaded: run `apt-get update`"
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), folder], check=True)
        (Path(folder) / "usr/bin/promtool").replace(target)


def _download(name: str, folder: str) -> bool:
    if any(Path(folder).glob("*.deb")):
        return False
    done = subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, check=False, capture_output=True)
    return done.returncode == 0
