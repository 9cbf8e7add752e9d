"""What the queries of panels answer: PromQL by Prometheus' HTTP API, SQL by the database."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
import requests

from infra.dashboards.chart import Series
from infra.dashboards.panels import Panel

# What Grafana puts in for its macro.
_FILTER = re.compile(r"\$__timeFilter\((\w+)\)")
_LEGEND = re.compile(r"{{(\w+)}}")
_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Span:
    """What the time picker of a dashboard says; half-open, with how far apart points of PromQL are."""

    begin: datetime
    end: datetime
    step_s: int = 5


@dataclass(frozen=True, slots=True)
class Answer:
    """Series, or columns with rows."""

    series: Sequence[Series] = ()
    columns: Sequence[str] = ()
    rows: Sequence[Sequence[Any]] = ()

    @property
    def has_data(self) -> bool:
        """Whether there is anything to see."""
        return bool(self.series or self.rows)


def of_prometheus(url: str, panel: Panel, span: Span) -> Answer:
    """All queries of a panel as series; raises requests.RequestException, also where a query is refused."""
    found: list[Series] = []
    for query, legend in panel.queries:
        bounds = {"start": str(span.begin.timestamp()), "end": str(span.end.timestamp()), "step": str(span.step_s)}
        answer = requests.get(f"{url}/api/v1/query_range", params={"query": query, **bounds}, timeout=_TIMEOUT_S)
        answer.raise_for_status()
        for one in answer.json()["data"]["result"]:
            values = [(float(at), float(value)) for at, value in one["values"] if value != "NaN"]
            if values:
                found.append(Series(_named(legend, one["metric"]), values))
    return Answer(series=found)


def of_postgres(connection: psycopg.Connection, panel: Panel, span: Span) -> Answer:
    """The rows of a panel, as series where it is drawn over time."""
    ((query, form),) = panel.queries
    cursor = connection.execute(filtered(query, span))
    columns, rows = [column.name for column in cursor.description or ()], cursor.fetchall()
    return Answer(columns=columns, rows=rows) if form == "table" else Answer(series=_series(columns, rows))


def filtered(query: str, span: Span) -> str:
    """A query with the time filter put in as Grafana does."""
    bounds = f"'{span.begin.isoformat()}' AND '{span.end.isoformat()}'"
    return _FILTER.sub(rf"\1 BETWEEN {bounds}", query)


def _series(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Series]:
    (value,) = (name for name in columns if name not in {"time", "metric"})
    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        fields = dict(zip(columns, row, strict=True))
        lines.setdefault(fields.get("metric", value), []).append((fields["time"].timestamp(), float(fields[value])))
    return [Series(name, points) for name, points in lines.items()]


def _named(legend: str, labels: Mapping[str, str]) -> str:
    return _LEGEND.sub(lambda match: labels.get(match[1], ""), legend)
