"""What a measure is: its name, what it says, and its targets."""

from __future__ import annotations

from dataclasses import dataclass

from tests.bench.report.targets import Target


@dataclass(frozen=True, slots=True)
class Measure:
    """One section of docs/benchmarks.md.

    Parameters
    ----------
    name:
        Of its results.
    title:
        What it is; how it is measured stands on docs/benchmarks.md, above its block.
    targets:
        Bounds of its figures.
    plot:
        Quantity that is drawn, empty for none.
    """

    name: str
    title: str
    targets: tuple[Target, ...] = ()
    plot: str = ""
