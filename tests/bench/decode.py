"""Decode benchmark: CPU per event of the Python worker alone, in one process, without services.

    .venv/bin/python -m tests.bench.decode
    .venv/bin/python -m tests.bench.decode --against ../before

`decode` is the decoder on columns; `worker` adds what PyFlink does around it: an Arrow batch in and one out. The second
form measures two trees in turn (A B A B ...), so that their ratio holds on a busy machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from pyflink.table import DataTypes
from pyflink.table.types import to_arrow_type
from pyflink.table.utils import arrow_to_pandas, pandas_to_arrow

import udfs.flink
from udfs.catalog.model import InMemoryCatalogSource, Tenant
from udfs.decode.decoder import DecodePolicy
from udfs.flink import DECODED, CatalogOptions, DecodeEvents
from udfs.meters.meter import Meter

BATCH, SMALL_BATCH = 2_000, 250
NOW_MS = 1_700_000_000_000
GRACE_MS = 48 * 3_600_000
CATALOG = InMemoryCatalogSource(
    tenants=[Tenant("bench", None)],
    meters=[
        Meter("active_users", ("completion",), "unique", value="user_id"),
        Meter("api_calls", ("api_call", "request"), "count", group_by=("region",)),
        Meter("build_minutes", ("build",), "sum"),
        Meter("storage_gb", ("storage",), "sum"),
        Meter("tokens", ("completion",), "sum", group_by=("model", "region")),
    ],
)
IN_TYPES = (DataTypes.BYTES(), DataTypes.TIMESTAMP(3), DataTypes.INT(), DataTypes.BIGINT())

# Payload, arrival, partition and offset of a batch, each a column.
Columns = tuple[list[bytes], list[int], list[int], list[int]]


def batches(raws: Sequence[bytes], size: int) -> list[Columns]:
    """The events as columns of at most `size` rows, an event's arrival shortly after it."""
    columns = []
    for start in range(0, len(raws), size):
        rows = range(start, min(start + size, len(raws)))
        arrivals = [NOW_MS - 3_600_000 + 3_600_000 * row // len(raws) for row in rows]
        columns.append((list(raws[start : rows.stop]), arrivals, [0] * len(rows), list(rows)))
    return columns


class Counter:
    """A metric that only counts."""

    def inc(self, count: int = 1) -> None:
        """Nothing is read from it."""


class Metrics:
    """The part of Flink's metric group that the function uses."""

    def get_metric_group(self) -> Metrics:
        """Itself: one group is as good as another."""
        return self

    def add_group(self, *_names: str) -> Metrics:
        """Itself, as above."""
        return self

    def counter(self, _name: str) -> Counter:
        """A counter."""
        return Counter()

    def gauge(self, _name: str, _read: Callable[[], int]) -> None:
        """Nothing is read from it."""


def opened() -> DecodeEvents:
    """The UDF as a worker has it, with the catalog in memory."""
    vars(udfs.flink)["PostgresCatalogSource"] = lambda *_: CATALOG
    policy = DecodePolicy("usage.events", grace_ms=GRACE_MS, future_tolerance_ms=300_000)
    function = DecodeEvents(policy, CatalogOptions("", 3_600, 3_600, 100_000))
    function.open(Metrics())
    return function


def arrow_of(columns: Columns) -> bytes:
    """A batch as the JVM sends it."""
    schema = pa.schema([(f"f{index}", to_arrow_type(kind)) for index, kind in enumerate(IN_TYPES)])
    payload, arrival, partition, offset = columns
    arrays = [
        pa.array(payload, schema.types[0]),
        pa.array(arrival, pa.int64()).cast(pa.timestamp("ms")).cast(schema.types[1]),
        pa.array(partition, schema.types[2]),
        pa.array(offset, schema.types[3]),
    ]
    sink = BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
    return sink.getvalue()


def handled(function: DecodeEvents, sent: bytes) -> int:
    """What PyFlink's worker does with a batch; the bytes of its answer."""
    batch = pa.ipc.open_stream(BytesIO(sent)).read_next_batch()
    series = arrow_to_pandas("UTC", IN_TYPES, [batch])
    result: pd.DataFrame = function.eval(*series)
    schema = pa.schema([("f0", to_arrow_type(DECODED))])
    sink = BytesIO()
    writer = pa.RecordBatchStreamWriter(sink, schema)
    writer.write_batch(pandas_to_arrow(schema, "UTC", [DECODED], [result]))
    return sink.tell()


def measured(step: Callable[[Any], object], items: Sequence[Any], events: int, passes: int) -> float:
    """CPU microseconds per event: the least of some passes, after one that is not counted."""
    spent = []
    for number in range(passes + 1):
        started = time.process_time()
        for item in items:
            step(item)
        if number:
            spent.append(time.process_time() - started)
    return round(min(spent) / events * 1e6, 3)


def once(file: Path, passes: int) -> dict[str, float]:
    """All figures of one process, for the events of a file."""
    raws = [line.partition(b"\t")[2] for line in file.read_bytes().splitlines()]
    events = len(raws)
    function = opened()
    decoder = function._decoder
    answers = {"bytes": round(sum(map(len, raws)) / events, 1)}
    answers["decode"] = measured(lambda columns: decoder.decode_batch(*columns), batches(raws, BATCH), events, passes)
    for name, size in (("worker", BATCH), ("worker_small", SMALL_BATCH)):
        sent = [arrow_of(columns) for columns in batches(raws, size)]
        answers[name] = measured(lambda batch: handled(function, batch), sent, events, passes)
    return answers


def child(folder: Path, file: Path, passes: int) -> dict[str, float]:
    """The figures of a process of its own, with the sources of a folder."""
    command = [sys.executable, "-P", __file__, "--once", str(file), "--passes", str(passes)]
    environment = {**os.environ, "PYTHONPATH": str(folder.absolute())}
    done = subprocess.run(command, cwd=folder, env=environment, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"decoding in {folder} failed: {done.stderr.splitlines()[-1]}")
    answer: dict[str, float] = json.loads(done.stdout)
    return answer


@contextmanager
def made(events: int) -> Iterator[Path]:
    """A file of events; removed at the end."""
    # Not at the top: the child measures another checkout, which may have no such module.
    from tests.bench.events import Load, write  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "events.tsv"
        write(Load(events), NOW_MS, file)
        yield file


def summary(values: Sequence[float]) -> str:
    """Median, and least to most."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main(argv: Sequence[str] | None = None) -> None:
    """Print a line per figure, in CPU microseconds per event."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path, help="another checkout, measured in turn")
    parser.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args(argv)
    if arguments.once:
        sys.stdout.write(json.dumps(once(arguments.once, arguments.passes)) + "\n")
        return
    folders = [Path.cwd(), *([arguments.against] if arguments.against else [])]
    with made(arguments.events) as file:
        runs = [[child(folder, file, arguments.passes) for folder in folders] for _ in range(arguments.rounds)]
    for name in runs[0][0]:
        line = f"{name:13} {summary([run[0][name] for run in runs])}"
        if arguments.against:
            ratios = [run[0][name] / run[1][name] for run in runs]
            line += f"  against {summary([run[1][name] for run in runs])}  ratio {summary(ratios)}"
        sys.stdout.write(line + "\n")


if __name__ == "__main__":
    main()
