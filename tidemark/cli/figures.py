"""The table of figures in README.md, from the results of the benchmarks; `--check` fails when it has drifted."""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
FIGURES = ROOT / "docs" / "figures.json"
RESULTS = ROOT / "tests" / "bench" / "results"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
NOT_MEASURED = "not measured yet"

Figure = Mapping[str, Any]
# By measure, subject and quantity.
Medians = Mapping[tuple[str, str, str], float]


def medians(folder: Path = RESULTS) -> dict[tuple[str, str, str], float]:
    """What was measured: in a full run, or else in a quick one."""
    found: dict[tuple[str, str, str], float] = {}
    for mode in ("quick", "full"):
        file = folder / f"{mode}.json"
        measures = json.loads(file.read_text(encoding="utf-8"))["measures"] if file.is_file() else {}
        for name, measure in measures.items():
            for row in measure["figures"]:
                found[name, row["subject"], row["quantity"]] = statistics.median(row["values"])
    return found


def seen(figure: Figure, measured: Medians) -> str:
    """What README says of a figure."""
    keys = {name: (figure["measure"], subject, quantity) for name, (subject, quantity) in figure["figures"].items()}
    if not measured.keys() >= set(keys.values()):
        return NOT_MEASURED
    values = {name: measured[key] for name, key in keys.items()}
    # Thousands are apart by a space; a comma of the sentence has one after it.
    return re.sub(r",(?=\d)", " ", str(figure["seen"]).format(**values))


def table(figures: Iterable[Figure], measured: Medians) -> Iterator[str]:
    """One row per figure."""
    yield "| what | seen on 2 cores |"
    yield "|---|---|"
    for figure in figures:
        yield f"| {figure['what']} | {seen(figure, measured)} |"


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
    figures: list[dict[str, Any]] = json.loads(FIGURES.read_text(encoding="utf-8"))
    text = README.read_text(encoding="utf-8")
    wanted = placed(text, table(figures, medians()))
    if not parser.parse_args(argv).check:
        README.write_text(wanted, encoding="utf-8")
    elif wanted != text:
        sys.stderr.write("README.md does not have the figures of tests/bench/results. Fix: run `make reference`.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
