"""Actions of the audit: each is one word of a group, and explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from tidemark.core.audit import Action

ROOT = Path(__file__).parents[3]
SECTION = re.compile(r"^## Audit\n(.*?)^## ", re.MULTILINE | re.DOTALL)


def documented() -> set[str]:
    section = SECTION.search((ROOT / "docs/security.md").read_text(encoding="utf-8"))
    assert section
    rows = [line.split("|")[1] for line in section[1].splitlines() if line.startswith("| `")]
    return {action for row in rows for action in re.findall(r"`([a-z_]+\.[a-z_]+)`", row)}


def test_the_page_explains_every_action_and_no_other() -> None:
    assert documented() == set(get_args(Action))


def test_actions_are_what_the_table_takes() -> None:
    text = (ROOT / "schemas/sql/audit/0001_entry.sql").read_text(encoding="utf-8")
    pattern = re.search(r"action ~ '([^']+)'", text)
    assert pattern
    assert all(re.fullmatch(pattern[1], action) for action in get_args(Action))
