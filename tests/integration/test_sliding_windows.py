"""Sliding windows on event time: run as bounded jobs, every window of the stream equals the oracle's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jobs import db
from jobs.bounds import Bounds
from jobs.flink_rest import wait_until
from jobs.oracle.oracle import statement_named
from tests.pipeline import pipeline
from tests.streams import CATALOG, generate

SIXTY_DAYS_S = 60 * 86_400


def test_every_sliding_window_equals_the_oracle(stack: Any, tmp_path: Path) -> None:
    # Given events of 40 days, out of order, and a watermark bound that covers them ...
    with pipeline(stack.settings, "sliding", CATALOG, tmp_path, sliding_disorder_s=SIXTY_DAYS_S) as run:
        run.send(generate(events=2_000, seed=3))
        # ... when both jobs run to the end of their input, which fires every window ...
        for job in ("meter", "rollup"):
            job_id = run.submit(job, Bounds(end="latest"))
            wait_until(lambda job_id=job_id: run.rest.details(job_id)["state"] == "FINISHED", 180, f"{job} to finish")  # type: ignore[misc]
        # ... then each window is stored once, with exact totals, and no other.
        columns = "tenant_id, meter, window_s, window_end, n, total"
        with run.oracle() as oracle, db.connect(run.settings) as connection:
            oracle.db.execute(statement_named("usage_sliding"))
            expected = oracle.db.execute(f"SELECT {columns} FROM usage_sliding").fetchall()
            stored = connection.execute(
                f'SELECT {columns} FROM "{run.settings.names.usage_schema}".usage_sliding'
            ).fetchall()  # type: ignore[arg-type]
        assert len(expected) > 1_000
        assert sorted(stored) == sorted(expected)
