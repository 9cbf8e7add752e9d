"""Single programs from Debian's packages: fetched once a machine and never installed, so that no service is started."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from infra.local.paths import cache_dir, locked
from tidemark.core.errors import UnavailableError

# Debian's packages of each: promtool is one of its own since trixie, and before that part of Prometheus.
PROMETHEUS = ("prometheus", ("prometheus",))
PROMTOOL = ("promtool", ("promtool", "prometheus"))


def fetched(program: str, packages: Sequence[str]) -> Path:
    """Path of a program, from the first of some packages that there is.

    Raises
    ------
    UnavailableError
        None of them could be downloaded.
    """
    target = cache_dir() / program
    with locked(cache_dir() / f".{program}.lock", wait=True, what=program):
        if not target.is_file():
            _fetch(program, packages, target)
    return target


def _fetch(program: str, packages: Sequence[str], target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        if not any(_download(name, folder) for name in packages):
            raise UnavailableError(f"apt offers none of {', '.join(packages)}.", "run `apt-get update`.")
        (package,) = Path(folder).glob("*.deb")
        subprocess.run(["dpkg", "-x", str(package), folder], check=True)
        (Path(folder) / "usr/bin" / program).replace(target)


def _download(name: str, folder: str) -> bool:
    done = subprocess.run(["apt-get", "download", "-qq", name], cwd=folder, check=False, capture_output=True)
    return done.returncode == 0
