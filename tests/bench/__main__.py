"""The harness.

make bench-quick     all that ten minutes are enough for; writes tests/bench/results/quick.json
make bench           everything, long sizes and contestants killed; writes tests/bench/results/full.json

python -m tests.bench --quick --only live --only limits     some measures; the others stay, with their commits
python -m tests.bench --smoke --to DIR                      the smallest sizes, results elsewhere: to try the harness
python -m tests.bench --only drain_keyed --rounds 2             long sizes, fewer runs of each
python -m tests.bench --tools                               make the environments of the contestants
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import session, toolbox
from tests.bench.measures import BY_NAME
from tests.bench.plan import RUNS
from tests.bench.report.results import FOLDER
from tests.bench.world import running
from tidemark.core.errors import TidemarkError


def make_tools() -> None:
    """Environments and jars, before any clock runs; a contestant without them is reported, and the rest go on."""
    for name in (*toolbox.requirements(), "kafka_streams"):
        sys.stderr.write(f"tools: {name}\n")
        try:
            toolbox.jars(name) if name == "kafka_streams" else toolbox.python(name)
        except TidemarkError as error:
            sys.stderr.write(f"{name} cannot be made: {error}\n")


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="in ten minutes on two cores")
    parser.add_argument("--smoke", action="store_true", help="all measures with the smallest sizes, to try the harness")
    parser.add_argument("--only", action="append", choices=list(BY_NAME), default=[], help="a measure; may be repeated")
    parser.add_argument("--rounds", type=int, default=0, help="at most so many runs of each subject")
    parser.add_argument("--to", type=Path, default=FOLDER, help="folder of the results")
    parser.add_argument("--tools", action="store_true", help="make the tools and end")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure; the exit code says whether all measures are ok."""
    asked = parsed(argv)
    make_tools()
    if asked.tools:
        return 0
    quick = asked.quick or asked.smoke
    wanted = [run for run in RUNS if not asked.only or set(run.measures) & set(asked.only)]
    if asked.quick and not asked.only:
        wanted = [run for run in wanted if not run.full_only]
    results = session.begin(quick=quick)
    if asked.only:
        results = session.continued(results, asked.to)
    limited = quick and not asked.only and not asked.smoke
    deadline = time.monotonic() + (session.QUICK_S if limited else float("inf"))
    asked.to.mkdir(parents=True, exist_ok=True)
    with running(quick=quick, small=asked.smoke, most_rounds=asked.rounds) as world:
        wrong = session.measure_all(world, wanted, results, asked.to, lambda: deadline - time.monotonic())
    sys.stderr.write(f"results: {asked.to}/{results.head['mode']}.json, {results.head['seconds']:.0f} s\n")
    if wrong:
        sys.stderr.write(f"not ok: {', '.join(wrong)}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
