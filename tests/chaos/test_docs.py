"""The site of the documentation is made, and no link in it leads nowhere."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import tidemark_client

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.drill


def build(docs: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", str(docs / "site")]
    return subprocess.run([*command, str(docs), str(site)], check=False, text=True, capture_output=True, timeout=300)


def test_the_site_has_search_references_and_pictures(tmp_path: Path) -> None:
    made = build(ROOT / "docs", tmp_path)
    assert (made.returncode, made.stderr) == (0, "")
    assert "The first five minutes" in (tmp_path / "index.html").read_text("utf-8")
    sdk = (tmp_path / "sdk.html").read_text("utf-8")
    # Whatever a service may import is in its reference; an alias of a type has none of its own.
    named = {name for name in tidemark_client.__all__ if isinstance(getattr(tidemark_client, name), type)}
    assert "Client" in named
    assert [name for name in sorted(named) if f'id="tidemark_client.{name}"' not in sdk] == []
    assert "/v1/limits/check" in (tmp_path / "http.html").read_text("utf-8")
    assert (tmp_path / "searchindex.js").is_file()
    assert {"web-usage.png", "flow.svg"} <= {file.name for file in (tmp_path / "_images").iterdir()}


@pytest.mark.parametrize("link", ["nowhere.md", "events.md#nowhere", "../README.md#nowhere"])
def test_a_link_that_leads_nowhere_ends_it(tmp_path: Path, link: str) -> None:
    root = tmp_path / "root"
    for name in ("docs", "schemas/http"):
        shutil.copytree(ROOT / name, root / name)
    for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"):
        shutil.copy(ROOT / name, root)
    page = root / "docs" / "limits.md"
    page.write_text(f"{page.read_text('utf-8')}\n[there]({link})\n", encoding="utf-8")
    made = build(root / "docs", tmp_path / "site")
    assert made.returncode != 0
    assert "limits.md" in made.stderr
