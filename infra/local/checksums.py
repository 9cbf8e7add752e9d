"""SHA-256 of the jars that Maven fetches: a repository vouches for its files, this list for what they were here.

`python -m infra.local.checksums` writes the list from the jars of this machine, for a commit that changes versions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from tidemark.core.errors import TidemarkError

LIST = Path(__file__).with_name("jars.sha256")


def expected(profile: str) -> dict[str, str]:
    """SHA-256 by name, of the jars of a profile of pom.xml."""
    lines = (line.split() for line in LIST.read_text("utf-8").splitlines())
    return {name.removeprefix(f"{profile}/"): digest for digest, name in lines if name.startswith(f"{profile}/")}


def found(folder: Path) -> dict[str, str]:
    """SHA-256 by name, of the jars of a folder."""
    return {jar.name: hashlib.sha256(jar.read_bytes()).hexdigest() for jar in sorted(folder.glob("*.jar"))}


def verify(folder: Path, profile: str) -> None:
    """Refuse a folder that has another jar than the list, or one with other bytes.

    Raises
    ------
    TidemarkError
        Names the jars.
    """
    wanted, there = expected(profile), found(folder)
    problems = [
        *(f"{name} is not in the list" for name in sorted(there.keys() - wanted.keys())),
        *(f"{name} was not fetched" for name in sorted(wanted.keys() - there.keys())),
        *(f"{name} is {there[name]}, not {wanted[name]}" for name in sorted(wanted.keys() & there.keys())
          if there[name] != wanted[name]),
    ]  # fmt: skip
    if problems:
        raise TidemarkError(
            f"jars differ from {LIST.name}: {'; '.join(problems)}.",
            "do not use them. Who changed versions writes the list again: python -m infra.local.checksums.",
        )


def text(folders: Mapping[str, Path]) -> str:
    """The list for folders by profile, as `sha256sum --check` reads it."""
    return "".join(
        f"{digest}  {profile}/{name}\n" for profile, folder in folders.items() for name, digest in found(folder).items()
    )


if __name__ == "__main__":
    from infra.local.provision import unverified_jars

    with unverified_jars() as fetched:
        LIST.write_text(text(fetched), "utf-8")
