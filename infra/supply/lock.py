"""The lock files: every version that is installed, with the hashes of its files, for Python 3.11 on Linux.

`python -m infra.supply.lock PIP_COMPILE` writes the hashes anew for the versions that are in them. So a version
is changed: edit its line, run this. No file names an index: a hash holds wherever a file comes from.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import canonicalize_name

from infra.supply.closure import BUILDERS, DEVELOPED, FLINK, SERVICES, closure

ROOT = Path(__file__).parents[2]
PRODUCT, JOBS, DEVELOPMENT, EXTRA = (ROOT / f"constraints{part}.txt" for part in ("", "-jobs", "-dev", "-extra"))
TOOLS = Path(__file__).with_name("tools.txt")
_HEADS = {
    PRODUCT: "What services run on, and what builds them, in both images",
    JOBS: "What the jobs need beside it, in the image of Flink",
    DEVELOPMENT: "What tests and linters need beside both",
    EXTRA: "What the site of the documentation and some drills need beside all",
    TOOLS: "What writes lock files and bills of materials, in a place of its own",
}
_HOW = "# Versions are edited here; `make lock` writes the hashes."
_PIN = re.compile(r"([A-Za-z0-9][\w.-]*)==([\w.!+]+)( \\)?")
_HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}( \\)?")


def blocks(text: str) -> dict[str, str]:
    """Lines of each requirement, by canonical name.

    Raises
    ------
    ValueError
        A line is neither a pinned version nor a hash, or a version has no hash.
    """
    found: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if pin := _PIN.fullmatch(line):
            name = canonicalize_name(pin[1])
            found[name] = f"{line}\n"
        elif name and _HASH.fullmatch(line):
            found[name] += f"{line}\n"
        elif line and not line.startswith("#"):
            raise ValueError(f"{line!r} is neither NAME==VERSION nor a hash of it")
    if bare := [name for name, block in found.items() if "--hash=sha256:" not in block]:
        raise ValueError(f"no hash of {', '.join(bare)}")
    return found


def versions(text: str) -> dict[str, str]:
    """Pinned versions by canonical name."""
    pins = (_PIN.fullmatch(line) for line in text.splitlines())
    return {canonicalize_name(pin[1]): pin[2] for pin in pins if pin}


def _compiled(pip_compile: str, files: Iterable[Path]) -> dict[str, str]:
    pins = {name: version for file in files for name, version in versions(file.read_text("utf-8")).items()}
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "pins.in"
        given.write_text("".join(f"{name}=={version}\n" for name, version in pins.items()), "utf-8")
        options = ["--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", "--no-header", "--no-annotate",
                   "--no-emit-options", "--no-emit-index-url", "--no-emit-find-links",
                   "--no-emit-trusted-host"]  # fmt: skip
        subprocess.run([pip_compile, *options, "--output-file", f"{folder}/lock", str(given)], check=True)
        return blocks(Path(folder, "lock").read_text("utf-8"))


def _write(file: Path, locked: dict[str, str]) -> None:
    lines = "".join(locked[name] for name in sorted(locked))
    file.write_text(f"# {_HEADS[file]}: exact versions, for Python 3.11 on Linux.\n{_HOW}\n{lines}", "utf-8")


def write_all(product_lock: dict[str, str], tools_lock: dict[str, str]) -> None:
    """Write all files; what each part needs is what its distributions say."""
    rest = dict(product_lock)
    for file, roots in ((PRODUCT, SERVICES), (JOBS, FLINK), (DEVELOPMENT, DEVELOPED)):
        needed = closure(roots) | set(BUILDERS)
        _write(file, {name: rest.pop(name) for name in list(rest) if name in needed})
    _write(EXTRA, rest)
    _write(TOOLS, tools_lock)


if __name__ == "__main__":
    write_all(_compiled(sys.argv[1], (PRODUCT, JOBS, DEVELOPMENT, EXTRA)), _compiled(sys.argv[1], (TOOLS,)))
