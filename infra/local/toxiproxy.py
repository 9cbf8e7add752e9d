"""Toxiproxy for fault drills, built by Go once a machine; nothing else of the stack needs it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from infra.local.paths import cache_dir, locked
from infra.local.progress import Progress
from infra.local.provision import install_packages, once, run_program
from infra.versions import TOXIPROXY

MODULE = "github.com/Shopify/toxiproxy/v2/cmd/server"
# Its module asks for Go 1.17; Debian 12 has 1.19.
GO_PACKAGE = {"go": "golang-go"}


def toxiproxy(progress: Progress) -> Path:
    """The server's program, built when it is not there yet.

    Raises
    ------
    TidemarkError
        Go is missing, and this is not root.
    UnavailableError
        The build failed three times; the message ends with the output of Go.
    """
    target = cache_dir() / f"toxiproxy-{TOXIPROXY}"
    with locked(cache_dir() / ".lock", wait=True, what="the cache"):
        if not target.is_dir() and _go() is None:
            install_packages(progress, GO_PACKAGE)
        once(target, progress, f"building toxiproxy {TOXIPROXY} by Go", _build)
    return target / "server"


def _go() -> str | None:
    """Path of the Go program: of PATH, or where its own archive is unpacked to."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def _build(target: Path) -> None:
    # No cgo: no C compiler is needed. No stamp: the folder may be inside a repository of somebody else.
    environment = {**os.environ, "GOBIN": str(target), "CGO_ENABLED": "0", "GOFLAGS": "-buildvcs=false"}
    run_program([_go() or "go", "install", f"{MODULE}@v{TOXIPROXY}"], environment)
