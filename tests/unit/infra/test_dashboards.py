"""Dashboards are what the code makes, and their queries name metrics and labels that there are."""

from __future__ import annotations

import json
import re

import pytest

from infra.dashboards.__main__ import dashboards, files
from infra.dashboards.panels import Panel
from infra.dashboards.pipeline import DEAD_LETTERS, WORKER
from tests.unit.infra.metrics import LABELS
from tidemark.core.names import Names
from udfs.events.reasons import Reason

ALL = dashboards(Names())
PANELS = [panel for dashboard in ALL for panel in dashboard.panels]


def test_the_files_are_what_the_code_makes() -> None:
    for path, text in files().items():
        assert path.read_text(encoding="utf-8") == text, "run `python -m infra.dashboards`"


def test_the_three_audiences_have_a_dashboard_each_that_grafana_can_import() -> None:
    documents = [json.loads(text) for text in files().values()]
    assert len({one["uid"] for one in documents}) == 3
    for one in documents:
        assert len({panel["id"] for panel in one["panels"]}) == len(one["panels"])
        places = {(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in one["panels"]}
        assert len(places) == len(one["panels"])
        sources = {f"${{{variable['name']}}}" for variable in one["templating"]["list"]}
        assert {target["datasource"]["uid"] for panel in one["panels"] for target in panel["targets"]} == sources


@pytest.mark.parametrize("panel", [one for one in PANELS if one.source == "prometheus"], ids=lambda one: one.title)
def test_a_panel_queries_metrics_and_labels_that_there_are(panel: Panel) -> None:
    for query, legend in panel.queries:
        named = set(re.findall(r"\b(?:tidemark|flink)_\w+", query))
        assert named
        assert named <= set(LABELS)
        labels = set.union(*(LABELS[name] for name in named))
        grouped = {label.strip() for group in re.findall(r"by \(([^)]*)\)", query) for label in group.split(",")}
        assert set(re.findall(r"{{(\w+)}}", legend)) <= grouped <= labels


def test_the_counters_of_workers_are_named_as_flink_names_them() -> None:
    # Operator scope, then the groups and the name of udfs/flink.py; the value of a key group is a label.
    assert DEAD_LETTERS.endswith("_operator_tidemark_reason_deadLetters")
    assert {DEAD_LETTERS, f"{WORKER}_accepted", f"{WORKER}_liveBatches", f"{WORKER}_catalogAgeSeconds"} <= set(LABELS)
    queries = " ".join(query for panel in PANELS for query, _ in panel.queries)
    assert set(re.findall(r'reason="(\w+)"', queries)) <= {reason.value for reason in Reason}


@pytest.mark.parametrize("panel", PANELS, ids=lambda one: one.title)
def test_a_panel_says_what_it_shows(panel: Panel) -> None:
    assert panel.title
    assert panel.description.endswith(".")
    assert panel.queries
