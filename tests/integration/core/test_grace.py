"""The grace that the job counts by is the one that the views say what is final by, and no other is closed by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from tests.integration.storage import own_run
from tidemark.billing.close import close
from tidemark.catalog import tool as catalog_tool
from tidemark.core import migrate, postgres, rollup_views
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.reconcile import run as reconcile

PERIOD = """
INSERT INTO {} (tenant_id, customer_id, meter, dims, period_start, period_end, n, samples, total, lo, hi)
VALUES (%s, 'c', 'calls', '', '2026-01-01', '2026-02-01', 1, 1, 1, 1, 1)
"""
CATALOG = """
valid_from: beginning
tenants: {{{}: {{meters: {{calls: {{event_types: [x], aggregation: count, unit: calls}}}}}}}}
"""


@pytest.fixture
def run(stack: Any, tmp_path: Path) -> Iterator[Settings]:
    with own_run(stack.settings) as settings:
        file = tmp_path / "catalog.yaml"
        file.write_text(CATALOG.format(settings.run_id))
        catalog_tool.apply(settings, file, backdate=True)
        yield settings


def hours_until_final(run: Settings) -> float:
    """What `usage_current` says: hours from the end of the period."""
    with postgres.connect(run.postgres) as connection:
        view = sql.Identifier(run.names.billing_schema, "usage_current")
        statement = sql.SQL("SELECT extract(epoch FROM final_at - '2026-02-01'::timestamptz) / 3600 FROM {}")
        return float(connection.execute(statement.format(view)).fetchall()[0][0])


def test_the_views_follow_the_grace_of_the_job_and_what_closes_refuses_another(run: Settings) -> None:
    with postgres.connect(run.postgres) as connection:
        table = sql.Identifier(run.names.usage_schema, "usage_period")
        connection.execute(sql.SQL(PERIOD).format(table), [run.run_id])
        # Before anything is counted, migrating changes it ...
        migrate.migrate(run.with_changes({"events.grace_s": 7_200}))
        assert hours_until_final(run) == 2
        rollup_views.check_grace(connection, run.names, 3_600)
        # ... and from then on the job alone, without another migration.
        rollup_views.count_by_grace(connection, run.names, 10_800)
        assert hours_until_final(run) == 3
        migrate.migrate(run.with_changes({"events.grace_s": 7_200}))
        assert hours_until_final(run) == 3
    other = run.with_changes({"events.grace_s": 7_200})
    for refused in (lambda: close(other, "test"), lambda: reconcile.run(other, reconcile.Request())):
        with pytest.raises(UsageError, match=r"events\.grace_s is 7200 here, and the job .* counts by 10800"):
            refused()


def test_a_run_without_a_ledger_has_no_grace_to_follow(run: Settings) -> None:
    replay = run.with_changes({"run_id": run.names.replay("r")})
    with postgres.connect(run.postgres) as connection:
        rollup_views.count_by_grace(connection, replay.names, 1)
        rollup_views.check_grace(connection, replay.names, 2)
