"""What guides name is there, and what they list is all there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobs.flink.shape import SHAPING
from schemas.compatibility import DIRECTIONS
from tests.unit.docs.commands import assert_is_command
from tidemark.core.settings import Settings
from tidemark.core.settings.variables import variables
from tidemark.serve.roles import ROLES

ROOT = Path(__file__).parents[3]
GUIDES = sorted(str(path.relative_to(ROOT)) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
TOPS = ("docs", "infra", "jobs", "schemas", "sdk", "tests", "tidemark", "udfs")
# What a changelog says of older versions may have gone.
PRESENT = [guide for guide in GUIDES if guide != "CHANGELOG.md"]


def page(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def row(name: str, first: str) -> str:
    """The one row of the tables of a page that begins with a cell."""
    (found,) = re.findall(rf"^\| {re.escape(first)} \|(.*)\|$", page(name), re.MULTILINE)
    return str(found)


@pytest.mark.parametrize("guide", PRESENT)
def test_paths_are_there(guide):
    named = set(re.findall(rf"`((?:{'|'.join(TOPS)})/[\w./-]*)`", page(guide)))
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("guide", PRESENT)
def test_commands_exist_with_their_options(guide):
    for line in re.findall(r"^(?:\$ )?(tidemark .+?)(?:  +#.*)?$", page(guide), re.MULTILINE):
        for command in line.split("; "):
            assert_is_command(command.removeprefix("tidemark "))


@pytest.mark.parametrize("guide", PRESENT)
def test_variables_set_something(guide):
    known = set(variables(Settings, "TIDEMARK_", "__"))
    named = set(re.findall(r"\bTIDEMARK_[A-Z0-9]+__[A-Z0-9_]*[A-Z0-9]\b", page(guide)))
    assert sorted(named - known) == []


def test_readme_names_every_capability_role_and_tier_of_tests():
    folders = {path.parent.name for path in ROOT.glob("tidemark/*/__init__.py")}
    assert sorted(name for name in folders if f"`{name}`" not in row("README.md", "`tidemark/`")) == []
    tiers = {path.parent.name for path in ROOT.glob("tests/*/__init__.py")}
    assert sorted(name for name in tiers if f"`{name}`" not in row("README.md", "`tests/`")) == []
    needed = " ".join(re.findall(r"^\| roles? (.*?) \|", page("README.md"), re.MULTILINE))
    assert {*re.findall(r"`(\w+)`", needed)} == {*ROLES}


def test_every_setting_that_shapes_state_is_in_the_table():
    section = page("docs/operations.md").split("\n## A setting shapes the state\n")[1].split("\n## ")[0]
    named = {one.setting for shapings in SHAPING.values() for one in shapings if "." in one.setting}
    assert sorted(name for name in named if f"`{name}`" not in section) == []


def test_every_view_for_finance_is_in_the_table():
    made = set()
    for file in sorted(ROOT.glob("schemas/sql/report/*.sql")):
        made |= set(re.findall(r"^CREATE (?:OR REPLACE )?VIEW (?:report\.)?(\w+)", file.read_text(), re.MULTILINE))
    section = page("docs/billing.md").split("\n## For finance\n")[1].split("\n## ")[0]
    listed = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))
    assert listed == {view for view in made if not view.startswith("own_")}


def test_every_topic_with_a_contract_is_said_to_be_accepted_or_produced():
    section = page("docs/events.md").split("\n## Changing a contract\n")[1].split("\n## ")[0]
    said = {
        topic: direction
        for topics, direction in re.findall(
            r"^- ((?:`[\w.]+`(?:, | and )?)+) (?:is|are) \*(\w+)\*", section, re.MULTILINE
        )
        for topic in re.findall(r"`([\w.]+)`", topics)
    }
    assert said == DIRECTIONS
