"""Each alert has a runbook that says where to look and what to do, by commands that there are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest
import yaml

from tests.unit.docs.commands import assert_is_command
from udfs.alerts import pipeline

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/runbooks.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
GROUPS = yaml.safe_load((ROOT / "infra/prometheus/rules.yaml").read_text(encoding="utf-8"))["groups"]
RULES = {rule["alert"]: rule for group in GROUPS for rule in group["rules"]}
OWN = [f"pipeline.{kind}" for kind in (*get_args(pipeline.Rule), *get_args(pipeline.Trouble))]


@pytest.mark.parametrize("alert", RULES)
def test_a_rule_leads_to_its_section(alert: str) -> None:
    assert RULES[alert]["annotations"]["runbook"] == f"docs/runbooks.md#{alert.lower()}"
    lines = SECTIONS[alert].splitlines()
    assert [line.partition(":")[0] for line in lines if line.startswith("- ")] == ["- Look", "- Do"]
    assert len(lines[2]) > 20, "what it means"


def test_no_section_is_of_an_alert_that_is_gone() -> None:
    assert {name for name in SECTIONS if name.startswith("Tidemark")} == RULES.keys()


@pytest.mark.parametrize("kind", [*OWN, pipeline.LIVE_COUNTERS, pipeline.RECONCILE, pipeline.CLOSE])
def test_an_alert_about_the_pipeline_is_in_one_section(kind: str) -> None:
    assert [name for name, text in SECTIONS.items() if f"`{kind}`" in text] != []


def test_commands_exist_with_their_options() -> None:
    named = re.findall(r"`tidemark ([^`]+)`", PAGE) + re.findall(r"^tidemark (.+?)(?:  +#.*)?$", PAGE, re.MULTILINE)
    assert len(named) > 20
    for line in named:
        assert_is_command(line)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([\w-]+\.md)#([\w-]+)\)", PAGE))))
def test_a_link_leads_to_a_heading(link: tuple[str, str]) -> None:
    page, anchor = link
    headings = re.findall(r"^#+ (.+)$", (ROOT / "docs" / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
