"""Queries of the dashboards run on the real database, and Prometheus' own parser takes the others."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import psycopg
import yaml

from infra.dashboards.__main__ import dashboards
from infra.local.debian import PROMTOOL, fetched
from tests.integration.storage import own_run
from tidemark.core import postgres
from tidemark.core.names import Names

# What Grafana puts in for its macro.
FILTER = re.compile(r"\$__timeFilter\((\w+)\)")
RANGE = r"\1 BETWEEN '2026-01-01T00:00:00Z' AND '2026-02-01T00:00:00Z'"


def test_every_sql_panel_runs_and_a_time_series_has_its_columns(stack: Any) -> None:
    with own_run(stack.settings) as run, postgres.connect(run.postgres) as connection:
        panels = [panel for one in dashboards(run.names) for panel in one.panels if panel.source == "postgres"]
        assert len(panels) > 8
        for panel in panels:
            for query, form in panel.queries:
                cursor = connection.execute(FILTER.sub(RANGE, query))  # type: ignore[call-overload]
                columns = {column.name: column.type_code for column in cursor.description or ()}
                if form == "time_series":
                    assert columns["time"] == psycopg.adapters.types["timestamptz"].oid, panel.title
                    assert len(columns) - len({"time", "metric"} & set(columns)) == 1, panel.title


def test_every_other_query_is_promql(tmp_path: Path) -> None:
    panels = [panel for one in dashboards(Names()) for panel in one.panels if panel.source == "prometheus"]
    queries = [query for panel in panels for query, _ in panel.queries]
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(queries)]

    def checked(these: list[dict[str, str]]) -> int:
        file = tmp_path / "rules.yaml"
        file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": these}]}))
        return subprocess.run(
            [str(fetched(*PROMTOOL)), "check", "rules", str(file)], check=False, capture_output=True
        ).returncode

    assert len(rules) > 12
    assert checked(rules) == 0
    assert checked([*rules, {"record": "panel:bad", "expr": "sum by (role tidemark_role_ready"}]) != 0
