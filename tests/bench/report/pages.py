"""Writes what is generated of docs/benchmarks.md, docs/scaling.md and docs/cost.md; `--check` fails on drift.

python -m tests.bench.report.pages [--check]
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.measures import MEASURES
from tests.bench.report import cost, plots, sizing, tables
from tests.bench.report.measure import Measure
from tests.bench.report.results import Results, newest, stored

ROOT = Path(__file__).parents[3]
BENCHMARKS, SCALING, COST = (ROOT / "docs" / f"{name}.md" for name in ("benchmarks", "scaling", "cost"))
PICTURES = ROOT / "docs" / "benchmarks"
_BLOCK = re.compile(r"<!-- bench: (?P<name>\w+) -->\n(?P<content>.*?)<!-- end of bench -->\n", re.DOTALL)
# What only a measurement can say: a number with the unit of one. Rates that are offered are settings.
_FIGURE = re.compile(r"\d[\d .,]*\s?(?:k/s|us\b|µs|ms\b|GiB|MiB|MB\b|times\b|x\b)|\bp\d\d\b[^|\n]{0,12}\d")


def blocks(results: Sequence[Results]) -> dict[str, str]:
    """Content of every block of docs/benchmarks.md by its name."""
    made = {
        "machine": _text(tables.machine(results)) if results else "Nothing was measured yet.\n",
        "targets": _text(tables.targets(MEASURES, results)),
    }
    return made | {measure.name: _section(measure, results) for measure in MEASURES}


def _section(measure: Measure, results: Sequence[Results]) -> str:
    there = newest(results, measure.name)
    if there is None:
        return "Not measured yet.\n"
    result, found = there
    run = f"Run: {result.head['mode']}, {tables.commit(found.commit, changed=found.changed)}"
    lines = [f"{run}; load before {found.load_before:.2f}.", "", *tables.table(found)]
    if measure.plot and picture(measure, results):
        lines += ["", f"![{measure.title}](benchmarks/{measure.name}.svg)"]
    return _text(lines)


def picture(measure: Measure, results: Sequence[Results]) -> str:
    """The SVG of a measure; empty without figures."""
    there = newest(results, measure.name)
    if there is None or not measure.plot:
        return ""
    found = there[1]
    drawn = [subject for subject, quantity in found.figures if quantity == measure.plot]
    spreads = {subject: found.spread(subject, measure.plot) for subject in drawn}
    known = {subject: spread for subject, spread in spreads.items() if spread is not None}
    return plots.bars(measure.title, measure.plot, known) if known else ""


def _text(lines: Sequence[str] | Iterator[str]) -> str:
    return "\n".join(lines) + "\n"


def filled(page: str, content: Mapping[str, str]) -> str:
    """A page with the content of its blocks.

    Raises
    ------
    ValueError
        A block has no content, or content has no block.
    """
    names = [match["name"] for match in _BLOCK.finditer(page)]
    if sorted(names) != sorted(content):
        raise ValueError(f"the page has blocks {sorted(names)}, and {sorted(content)} are written.")
    return _BLOCK.sub(
        lambda match: f"<!-- bench: {match['name']} -->\n\n{content[match['name']]}\n<!-- end of bench -->\n", page
    )


def stray_figures(page: str) -> list[str]:
    """Lines outside blocks that have a figure, which no result holds."""
    return [line for line in _BLOCK.sub("", page).splitlines() if _FIGURE.search(line)]


def wanted(results: Sequence[Results]) -> dict[Path, str]:
    """Every generated file with its content."""
    pictures = {PICTURES / f"{measure.name}.svg": picture(measure, results) for measure in MEASURES}
    return {
        BENCHMARKS: filled(BENCHMARKS.read_text(encoding="utf-8"), blocks(results)),
        SCALING: filled(SCALING.read_text(encoding="utf-8"), sizing.blocks(results)),
        COST: filled(COST.read_text(encoding="utf-8"), cost.blocks(results)),
        **{file: text for file, text in pictures.items() if text},
    }


def faults(files: Mapping[Path, str]) -> Iterator[str]:
    """What is wrong with the files as they are."""
    for file, text in files.items():
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            yield f"{file.relative_to(ROOT)} is not what the results say. Fix: run `make reference`"
    for file in sorted(set(PICTURES.glob("*.svg")) - set(files)):
        yield f"{file.relative_to(ROOT)} has no results. Fix: remove it"
    for page in (BENCHMARKS, SCALING, COST):
        for line in stray_figures(files[page]):
            yield f"{page.relative_to(ROOT)} has a figure outside the generated blocks: {line.strip()!r}"


def main(argv: Sequence[str] | None = None) -> int:
    """Write the pages, or compare them; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    files = wanted(stored())
    if not parser.parse_args(argv).check:
        PICTURES.mkdir(exist_ok=True)
        for file, text in files.items():
            file.write_text(text, encoding="utf-8")
    found = list(faults(files))
    sys.stderr.writelines(f"{fault}.\n" for fault in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
