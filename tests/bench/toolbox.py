"""Virtual environments and jars of the contestants, made on demand below .tidemark/tools."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from infra.local.paths import short_hash
from tidemark.core.errors import TidemarkError

HERE = Path(__file__).parent
TOOLS = Path(".tidemark/tools")
CONTESTANTS = HERE / "contestants"


def requirements() -> dict[str, Path]:
    """Requirements by the name of their environment."""
    return {file.parent.name: file for file in sorted(CONTESTANTS.glob("*/requirements.txt"))}


def python(name: str) -> Path:
    """Python of an environment; made anew when its requirements changed.

    Raises
    ------
    TidemarkError
        pip or venv failed; ends with what it printed.
    """
    wanted = requirements()[name]
    folder = (TOOLS / f"{name}-{short_hash(wanted.read_bytes())}").absolute()
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", str(folder)])
        run([str(folder / "bin/pip"), "install", "--quiet", "--requirement", str(wanted)])
        (folder / "ready").touch()
    return folder / "bin" / "python"


def jars(name: str) -> Path:
    """Classes and jars of a contestant with a pom.xml, built by Maven."""
    source = CONTESTANTS / name
    content = b"".join(file.read_bytes() for file in sorted(source.rglob("*")) if file.suffix in {".xml", ".java"})
    folder = (TOOLS / f"{name}-{short_hash(content)}").absolute()
    if not (folder / "ready").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(source / "pom.xml", folder)
        run(["mvn", "--batch-mode", "--quiet", "-f", str(folder / "pom.xml"), "dependency:copy-dependencies",
             f"-DoutputDirectory={folder / 'lib'}"])  # fmt: skip
        classes = [str(file) for file in sorted(source.glob("*.java"))]
        run(["javac", "-cp", f"{folder}/lib/*", "-d", str(folder / "classes"), *classes])
        (folder / "ready").touch()
    return folder


def run(command: list[str]) -> None:
    """Run a command to its end; raises TidemarkError with the end of what it printed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        printed = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise TidemarkError(f"{command[0]} failed:\n{printed}", "see whether the package registry can be reached.")
