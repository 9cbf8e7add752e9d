"""Metrics that there are, by the names that queries use, each with its labels."""

from __future__ import annotations

import re
from pathlib import Path

from infra.dashboards.pipeline import DEAD_LETTERS, OPERATOR, WORKER
from tidemark.serve.figures import FAMILIES

# Read, not imported: the adapter imports PyFlink.
_WORKERS = (Path(__file__).parents[3] / "udfs" / "flink.py").read_text(encoding="utf-8")
_OF_WORKERS = re.findall(r'metrics\.(?:counter|gauge)\("(\w+)"', _WORKERS)
# Of Flink itself.
_OF_OPERATORS = ("numRecordsIn", "numRecordsOut", "numRecordsSend")

LABELS = {
    **{one.shown: {*one.labels, "instance", *(["le"] if one.kind == "histogram" else [])} for one in FAMILIES},
    **{f"{WORKER}_{name}": {"job_name"} for name in _OF_WORKERS},
    **{f"{OPERATOR}_{name}": {"job_name", "operator_name"} for name in _OF_OPERATORS},
    DEAD_LETTERS: {"reason", "job_name"},
}
