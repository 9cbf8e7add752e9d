"""What a newcomer reads first is true: paths exist, commands exist, the drawing has its source, figures are quoted."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from tidemark.cli import figures

ROOT = Path(__file__).parents[3]
PAGES = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
# A newcomer's change, and the one folder that CONTRIBUTING's map names for it.
CHANGES = {
    "a receiver for Teams": ("a receiver", "tidemark/delivery/"),
    "a new reason code": ("a reason code", "udfs/events/"),
    "a column in a report view": ("a column of a table or of a view", "schemas/sql/"),
    "a setting of the archive": ("a setting", "tidemark/core/settings/"),
    "another aggregation": ("an aggregation", "udfs/meters/"),
    "a check of reconcile": ("a check against the source", "tidemark/reconcile/"),
    "a calendar rule": ("billing calendars", "udfs/calendars/"),
    "an option of `close`": ("a command of `tidemark`", "tidemark/cli/"),
    "a step of the meter job": ("a step of a job", "jobs/meter/"),
    "a decision of the limit reader": ("what services call", "sdk/python/"),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    named = {link for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) if "://" not in link}
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_whatever_a_shell_runs_of_the_readme_is_run_by_a_test_that_it_names():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    every = re.findall(r"(?:<!-- ([^>]*?) -->\n)?^```(\w*)\n.*?^```$", text, re.MULTILINE | re.DOTALL)
    # Blocks with a language (JSON, Python, SQL) are no shell; tests of their own read them.
    blocks = [about for about, language in every if not language]
    assert all(blocks), "a block of shell has no comment that says what runs it, or that it is printed"
    named = [name for about in blocks if about.startswith("run by") for name in re.findall(r"[\w./]+/[\w.]+", about)]
    assert {*named} >= {".ci/run", "tests/integration/infra/test_first_meter.py"}
    assert [name for name in named if not (ROOT / name).is_file()] == []
    assert all(about.startswith(("run by", "what ")) for about in blocks)


@pytest.mark.parametrize(("about", "folder"), CHANGES.values(), ids=CHANGES)
def test_the_map_names_one_folder_for_a_change(about, folder):
    rows = re.findall(
        r"^\| (.+?) \| (`.+`.*?) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    places = [where for what, where in rows if about in what]
    assert len(places) == 1
    assert f"`{folder}`" in places[0]


def test_the_drawing_is_of_its_source():
    source = (ROOT / "docs" / "flow.dot").read_bytes()
    drawn = (ROOT / "docs" / "flow.svg").read_text(encoding="utf-8")
    assert f"source sha256 {hashlib.sha256(source).hexdigest()}" in drawn


def test_figures_of_the_readme_are_those_that_were_measured(tmp_path):
    listed = json.loads(figures.FIGURES.read_text(encoding="utf-8"))
    assert figures.main(["--check"]) == 0
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    drifted = figures.table([{**listed[0], "what": "twice as fast"}, *listed[1:]], figures.medians())
    assert figures.placed(readme, drifted) != readme
    assert figures.medians(tmp_path) == {}


def test_a_figure_of_the_readme_is_a_median_or_not_measured():
    figure = {"measure": "live", "seen": "{p99:,.0f} ms", "figures": {"p99": ["5 000/s", "p99_ms"]}}
    assert figures.seen(figure, {("live", "5 000/s", "p99_ms"): 1_234.4}) == "1 234 ms"
    assert figures.seen(figure, {("live", "1 000/s", "p99_ms"): 1.0}) == figures.NOT_MEASURED


def test_a_full_run_goes_before_a_quick_one(tmp_path):
    for mode, values in (("quick", [1.0]), ("full", [2.0, 4.0, 9.0])):
        row = {"subject": "s", "quantity": "q", "values": values}
        (tmp_path / f"{mode}.json").write_text(json.dumps({"measures": {"m": {"figures": [row]}}}))
    assert figures.medians(tmp_path) == {("m", "s", "q"): 4.0}


def test_every_page_is_in_the_contents_of_the_site():
    contents = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    named = {line for block in re.findall(r"```\{toctree\}\n(.*?)```", contents, re.DOTALL) for line in block.split()}
    pages = {page.stem for page in (ROOT / "docs").glob("*.md") if "orphan: true" not in page.read_text("utf-8")[:40]}
    assert sorted(pages - named - {"index"}) == []
