"""What has to come out: usage recomputed in DuckDB from the file of events, and the differences to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tests.bench.events import GRACE_MS, TYPES

# Usage by customer, event type and minute or month, of events that are valid, not too old, and the first of their id.
_TRUTH = """
CREATE TABLE raw AS SELECT split_part(line, chr(9), 2) AS payload
FROM read_csv('{file}', header = false, delim = chr(1), quote = '', escape = '', columns = {{'line': 'VARCHAR'}});
CREATE TABLE event AS
SELECT payload ->> 'event_id' AS id, any_value(payload ->> 'customer_id') AS customer,
    any_value(payload ->> 'event_type') AS meter, any_value((payload ->> 'timestamp')::TIMESTAMPTZ) AS happened,
    any_value((payload ->> 'quantity')::DECIMAL(38, 9)) AS quantity
FROM raw WHERE json_valid(payload) GROUP BY id;
CREATE TABLE counted AS FROM event WHERE epoch_ms(happened) >= {first_ms} AND list_contains({types}, meter);
CREATE TABLE minute AS
SELECT customer, meter, date_trunc('minute', happened) AS bucket, count(*) AS n, sum(quantity) AS total
FROM counted GROUP BY ALL;
CREATE TABLE period AS
SELECT customer, meter, date_trunc('month', happened) AS bucket, count(*) AS n, sum(quantity) AS total
FROM counted GROUP BY ALL;
"""
# The columns of what a contestant wrote, in the order of a file with no header.
_SEEN = """columns = {
    'customer': 'VARCHAR', 'meter': 'VARCHAR', 'bucket': 'TIMESTAMPTZ', 'n': 'BIGINT', 'total': 'DECIMAL(38, 9)'
}"""
_DELTAS = """
CREATE OR REPLACE TABLE delta AS
SELECT split_part(line, chr(9), 1)::BIGINT AS written_ms, split_part(line, chr(9), 2) AS delta
FROM read_csv('{file}', header = false, delim = chr(1), quote = '', escape = '', columns = {{'line': 'VARCHAR'}});
CREATE OR REPLACE TABLE seen AS
SELECT delta ->> 'customer_id' AS customer, coalesce(delta ->> 'meter', delta ->> 'event_type') AS meter,
    (delta ->> 'minute')::TIMESTAMPTZ AS bucket, sum((delta ->> 'n')::BIGINT)::BIGINT AS n,
    sum((delta ->> 'total')::DECIMAL(38, 9)) AS total
FROM delta GROUP BY ALL;
"""


@dataclass(frozen=True, slots=True)
class Written:
    """What a run wrote: whether it is all, and when.

    Parameters
    ----------
    difference:
        In words; empty when it equals the oracle.
    times:
        Epoch ms and events of each delta, in order.
    """

    difference: str
    times: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Truth:
    """The right answer for one file of events."""

    file: Path
    database: Path
    events: int
    counted: int
    end_ms: int

    @contextmanager
    def _db(self) -> Iterator[duckdb.DuckDBPyConnection]:
        with duckdb.connect() as db:
            db.execute("SET timezone = 'UTC'")
            db.execute(f"ATTACH '{self.database}' AS truth (READ_ONLY)")
            yield db

    def of_deltas(self, dump: Path) -> Written:
        """Compare deltas (broker's time, tab, JSON) with it."""
        with self._db() as db:
            db.execute(_DELTAS.format(file=dump))
            rows = db.execute("SELECT written_ms, (delta ->> 'n')::BIGINT FROM delta ORDER BY 1").fetchall()
            return Written(_difference(db, "minute"), tuple((int(at), int(n)) for at, n in rows))

    def of_rows(self, grain: str, csv: Path) -> Written:
        """Compare stored rows, a CSV of customer, meter, bucket, n, total, with it; `grain` is minute or period."""
        with self._db() as db:
            db.execute(f"CREATE TABLE seen AS FROM read_csv('{csv}', header = false, {_SEEN})")
            return Written(_difference(db, grain))


def _difference(db: duckdb.DuckDBPyConnection, grain: str) -> str:
    counts = {
        what: db.execute(f"SELECT count(*), sum(n) FROM ({query})").fetchall()[0]
        for what, query in (
            ("missing or different", f"SELECT * FROM truth.{grain} EXCEPT ALL SELECT * FROM seen"),
            ("not in the oracle", f"SELECT * FROM seen EXCEPT ALL SELECT * FROM truth.{grain}"),
        )
    }
    expected, seen = (db.execute(f"SELECT coalesce(sum(n), 0) FROM {name}").fetchall()[0][0]
                      for name in (f"truth.{grain}", "seen"))  # fmt: skip
    if not any(rows for rows, _ in counts.values()):
        return ""
    found = ", ".join(f"{rows} rows {what}" for what, (rows, _) in counts.items())
    return f"{grain}: {seen} events counted, {expected} expected; {found}"


def recompute(file: Path, end_ms: int, *, replayed: bool = False) -> Truth:
    """Recompute from a file of events; the answer stays beside it. What was late when it arrived, a replay counts."""
    database = file.with_suffix(f".{'replayed' if replayed else 'live'}.duckdb")
    first_ms = 0 if replayed else end_ms - GRACE_MS
    database.unlink(missing_ok=True)
    with duckdb.connect(str(database)) as db:
        db.execute("SET timezone = 'UTC'")
        db.execute(_TRUTH.format(file=file, first_ms=first_ms, types=list(TYPES)))
        events, counted = (
            int(db.execute(f"SELECT count(*) FROM {name}").fetchall()[0][0]) for name in ("raw", "counted")
        )
        db.execute("DROP TABLE counted; DROP TABLE event; DROP TABLE raw")
    return Truth(file, database, events, counted, end_ms)
