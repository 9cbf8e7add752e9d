"""What a dashboard is made of, and its JSON in Grafana's format (schema version 39, Grafana 11)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

SCHEMA_VERSION = 39
# Grafana's grid is 24 wide.
_WIDTH, _COLUMNS, _HEIGHT = 12, 2, 8
_TYPES = {"prometheus": "prometheus", "postgres": "grafana-postgresql-datasource"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A picture of one question.

    Parameters
    ----------
    title, description:
        The question, and how to read the answer.
    source:
        Which data source its queries are for.
    queries:
        PromQL, each with the legend of its series; or SQL, with the format of its rows (`time_series` or `table`).
    unit:
        Grafana's name of the unit.
    kind:
        How it is drawn.
    empty:
        What it means that there is no row; empty where rows are always expected.
    """

    title: str
    description: str
    source: Literal["prometheus", "postgres"]
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: Literal["timeseries", "table", "stat"] = "timeseries"
    empty: str = ""


@dataclass(frozen=True, slots=True)
class Dashboard:
    """Panels for one audience; `since` is how far back it begins, for example `now-6h`."""

    uid: str
    title: str
    since: str
    panels: Sequence[Panel]


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The JSON that Grafana imports; its data sources are variables, chosen on the dashboard."""
    sources = dict.fromkeys(panel.source for panel in dashboard.panels)
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "tags": ["tidemark"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "timezone": "utc",
        "refresh": "1m",
        "time": {"from": dashboard.since, "to": "now"},
        "templating": {
            "list": [{"name": name, "label": name, "type": "datasource", "query": _TYPES[name]} for name in sources]
        },
        "panels": list(_panels(dashboard.panels)),
    }


def _panels(panels: Sequence[Panel]) -> Iterator[dict[str, Any]]:
    for number, panel in enumerate(panels):
        row, column = divmod(number, _COLUMNS)
        source = {"type": _TYPES[panel.source], "uid": f"${{{panel.source}}}"}
        yield {
            "id": number + 1,
            "type": panel.kind,
            "title": panel.title,
            "description": panel.description,
            "gridPos": {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": row * _HEIGHT},
            "datasource": source,
            "targets": [_target(panel, source, place) for place in range(len(panel.queries))],
            "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
            "options": {},
        }


def _defaults(panel: Panel) -> dict[str, str]:
    return {"unit": panel.unit, "noValue": panel.empty} if panel.empty else {"unit": panel.unit}


def _target(panel: Panel, source: dict[str, str], place: int) -> dict[str, Any]:
    query, more = panel.queries[place]
    target = {"refId": chr(ord("A") + place), "datasource": source}
    if panel.source == "prometheus":
        return {**target, "expr": query, "legendFormat": more}
    return {**target, "rawSql": query, "format": more, "rawQuery": True, "editorMode": "code"}
