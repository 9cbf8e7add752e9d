"""Writes the operators of jobs, and of their checkpoints, as one JSON document: what `inspect` reads.

It is a program of its own, because it starts a JVM with the jars of Flink's client.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jobs.upgrade.operators import of_checkpoint
from jobs.upgrade.plans import operators
from tidemark.core.settings import load


def main(argv: Sequence[str] | None = None) -> None:
    """Write the document into a file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--run-id", default=None)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("jobs", nargs="+", help="JOB or JOB=METADATA")
    arguments = parser.parse_args(argv)
    settings = load(run_id=arguments.run_id)
    found: dict[str, Any] = {}
    for text in arguments.jobs:
        job, _, metadata = text.partition("=")
        kept = of_checkpoint(Path(metadata)) if metadata else []
        found[job] = {"planned": operators(job, settings), "kept": [asdict(one) for one in kept]}
    arguments.into.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
