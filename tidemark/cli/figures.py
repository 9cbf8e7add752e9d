"""The table of measured figures in README.md, from docs/figures.json; `--check` fails when either has drifted."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures.json"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"

Figure = Mapping[str, str]


def table(figures: Iterable[Figure]) -> Iterator[str]:
    """One row per figure."""
    yield "| what | seen on 2 cores |"
    yield "|---|---|"
    for figure in figures:
        yield f"| {figure['what']} | {figure['seen']} |"


def unfounded(figures: Iterable[Figure], root: Path = ROOT) -> Iterator[str]:
    """Figures whose quote does not stand on the page they name."""
    for figure in figures:
        if figure["quote"] not in (root / figure["page"]).read_text(encoding="utf-8"):
            yield f"{figure['page']} does not say {figure['quote']!r}, which README has as {figure['seen']!r}"


def placed(readme: str, rows: Iterable[str]) -> str:
    """The text of README with the rows between the marks.

    Raises
    ------
    ValueError
        The marks are not there.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"README.md has no {BEGIN.strip()} with an {END.strip()} after it")
    return before + begin + "\n" + "\n".join(rows) + "\n\n" + end + after


def main(argv: Sequence[str] | None = None) -> int:
    """Write the table, or compare it; returns the exit code."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--check", action="store_true")
    figures: list[dict[str, str]] = json.loads(FIGURES.read_text(encoding="utf-8"))
    faults = list(unfounded(figures))
    text = README.read_text(encoding="utf-8")
    wanted = placed(text, table(figures))
    if not parser.parse_args(argv).check:
        README.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        faults.append("README.md does not have the figures of docs/figures.json. Fix: run `make reference`")
    sys.stderr.writelines(f"{fault}.\n" for fault in faults)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
