"""All events of a file at once: the bound of what this machine can do, without any stream."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import psycopg

from tests.bench.contestants.common import POSTGRES, SCHEMA, WORK, mark_first
from tests.bench.events import GRACE_MS

FILE, END_MS = Path(os.environ["CONTEST_FILE"]), int(os.environ["CONTEST_END_MS"])
# Copies of an event are alike, so any one will do.
EVENTS = f"""
CREATE TABLE event AS
SELECT any_value(payload.customer_id) AS customer, any_value(payload.event_type) AS meter,
    any_value(payload.timestamp::TIMESTAMPTZ) AS happened, any_value(payload.quantity) AS quantity
FROM (
    SELECT from_json(split_part(line, chr(9), 2), '{{"event_id": "VARCHAR", "customer_id": "VARCHAR",
        "event_type": "VARCHAR", "timestamp": "VARCHAR", "quantity": "DECIMAL(18, 2)"}}') AS payload
    FROM read_csv('{FILE}', header = false, delim = chr(1), quote = '', escape = '',
        columns = {{'line': 'VARCHAR'}})
    WHERE json_valid(split_part(line, chr(9), 2))
)
GROUP BY payload.customer_id, payload.event_id
HAVING epoch_ms(any_value(payload.timestamp::TIMESTAMPTZ)) >= {END_MS - GRACE_MS}
"""
SUMS = "COPY (SELECT customer, meter, date_trunc('{unit}', happened), count(*), sum(quantity) FROM event GROUP BY ALL) TO '{file}' (HEADER false)"  # noqa: E501


def main() -> None:
    mark_first()
    with duckdb.connect() as db, psycopg.connect(POSTGRES) as postgres:
        db.execute("SET timezone = 'UTC'")
        db.execute(EVENTS)
        for grain, unit in (("minute", "minute"), ("period", "month")):
            file = WORK / f"{grain}.csv"
            db.execute(SUMS.format(unit=unit, file=file))
            with postgres.cursor().copy(f"COPY {SCHEMA}.{grain} FROM STDIN (FORMAT csv)") as copy:
                copy.write(file.read_bytes())


if __name__ == "__main__":
    main()
