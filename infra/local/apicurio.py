"""Apicurio Registry for the drill of the schema registry, fetched by Maven once a machine; nothing else needs it."""

from __future__ import annotations

import hashlib
import tarfile
from pathlib import Path

from infra.local.paths import cache_dir, locked
from infra.local.progress import Progress
from infra.local.provision import once, run_program
from infra.versions import APICURIO
from tidemark.core.errors import TidemarkError

# Only with this classifier has the archive all of its jars.
ARTIFACT = f"io.apicurio:apicurio-registry-app:{APICURIO}:tar.gz:all"
SHA256 = "2b28181501a20cbf6efcd77f9b7153908fc01f3d3a7c32024c0bd9e1b04c8a43"
# The last version that fetches a file without the parents of its POM, and says where to put it.
_GET = "org.apache.maven.plugins:maven-dependency-plugin:2.8:get"


def apicurio(progress: Progress) -> Path:
    """The jar that runs it, beside its libraries; fetched when it is not there yet.

    Raises
    ------
    TidemarkError
        The archive is not the one whose checksum stands here.
    UnavailableError
        The fetch failed three times; the message ends with the output of Maven.
    """
    target = cache_dir() / f"apicurio-{APICURIO}"
    with locked(cache_dir() / ".lock", wait=True, what="the cache"):
        once(target, progress, f"fetching Apicurio Registry {APICURIO} by Maven", _fetch)
    return target / f"apicurio-registry-app-{APICURIO}-runner.jar"


def _fetch(target: Path) -> None:
    # -C: a checksum of the repository that is missing or differs fails the build.
    archive = target / "apicurio.tar.gz"
    run_program(["mvn", "-q", "-B", "-C", _GET, "-Dtransitive=false", f"-Dartifact={ARTIFACT}", f"-Ddest={archive}"])
    _verify(archive)
    with tarfile.open(archive) as content:
        content.extractall(target, filter="data")
    archive.unlink()


def _verify(archive: Path) -> None:
    with archive.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != SHA256:
        raise TidemarkError(f"{archive.name} has the SHA-256 {found}, not {SHA256}.", "do not run it.")
