"""The SDK as a service installs it: in an environment that holds nothing else, against a real Redis."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import venv
from pathlib import Path

import pytest

from tests.integration.sdk.event_server import KEY, event_server
from tests.integration.storage import OwnRedis

ROOT = Path(__file__).parents[3]
DAY_MS = 86_400_000
# What an environment of Python 3.11 holds by itself.
GIVEN = {"pip", "setuptools"}
OF_HTTPX = {"anyio", "certifi", "h11", "httpcore", "idna", "typing_extensions"}
# Modules that importing the SDK brings, of those that are not the standard library's.
MODULES = """
import json, sys
before = set(sys.modules)
import tidemark_client
tops = {name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names
print(json.dumps(sorted(name for name in tops if not name.startswith("_"))))
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with `pip install ./sdk/python` and nothing else."""
    # Not in the checkout, so that no folder of it can be imported by accident.
    folder = tmp_path_factory.mktemp("service")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(ROOT / "sdk" / "python"))
    return python


def run(python: Path, *arguments: str, **environment: str) -> str:
    command = [str(python), *arguments]
    done = subprocess.run(
        command, cwd=python.parent, env={**os.environ, **environment}, check=False, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_brings_redis_and_httpx_and_a_reader_of_limits_imports_redis_alone(python: Path) -> None:
    installed = {item["name"] for item in json.loads(run(python, "-m", "pip", "list", "--format", "json"))}
    assert installed - GIVEN - OF_HTTPX == {"tidemark-client", "redis", "httpx"}
    assert json.loads(run(python, "-c", MODULES)) == ["redis", "tidemark_client"]
    files = run(python, "-m", "pip", "show", "--files", "tidemark-client").partition("Files:\n")[2].split()
    assert {name.partition("/")[0] for name in files} == {"tidemark_client", "tidemark_client-0.1.0.dist-info"}
    assert "tidemark_client/py.typed" in files


def test_the_example_of_the_readme_is_answered(python: Path, own_redis: OwnRedis) -> None:
    code = re.search(r"```python\n(from tidemark_client.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert code
    now_ms = int(time.time() * 1_000)
    counter = {
        "period_start": now_ms - DAY_MS, "period_end": now_ms + DAY_MS, "n": 4, "total": "4", "limit": "10",
        "mode": "hard", "on_unknown": "fail_closed", "rule": "customer/B6@0", "denied": 0, "remaining": "6",
        "projected_exhaustion_at": "",
    }  # fmt: skip
    own_redis.client.hset("usage:{JFK/B6}:flights", mapping=counter)
    own_redis.client.mset({"usage:marker": "run", "usage:heartbeat": now_ms})
    imported, question = code[1].replace("redis://127.0.0.1:6379/0", own_redis.url).strip().split("\n\n")
    printed = run(python, "-c", f"{imported}\nprint({question.partition('  #')[0]})")
    assert "allowed=True" in printed
    assert "reason='within_limit'" in printed


def test_the_examples_of_the_readme_of_the_sdk_run(python: Path, own_redis: OwnRedis, tmp_path: Path) -> None:
    readme = (ROOT / "sdk" / "python" / "README.md").read_text()
    code = "\n".join(re.findall(r"```python\n(.*?)```", readme, re.DOTALL))
    own_redis.client.mset({"usage:marker": "run", "usage:heartbeat": int(time.time() * 1_000)})
    with event_server() as server:
        changes = {"http://127.0.0.1:8080": server.url, "tmk_…": KEY, "/var/lib/checkout/tidemark": str(tmp_path),
                   "redis://127.0.0.1:6379/0": own_redis.url}  # fmt: skip
        for shown, here in changes.items():
            assert shown in code
            code = code.replace(shown, here)
        # The spans of a service that has no OpenTelemetry, and a reader that shares a process with a client.
        assert run(python, "-c", f"{code}\nprint(decision.reason, client.stats().accepted)") == "no_limit 2\n"
        assert len(server.ids()) == 2


def test_the_service_of_the_first_meter_records(python: Path, tmp_path: Path) -> None:
    with event_server() as server:
        environment = {"USAGE_URL": server.url, "USAGE_KEY": KEY, "USAGE_SPOOL": str(tmp_path)}
        assert run(python, str(ROOT / "docs" / "first-meter" / "service.py"), **environment) == ""
        events = [json.loads(event) for batch in server.batches for event in batch]
    assert [(event["event_type"], event["quantity"]) for event in events] == [("completion", 12), ("completion", 4)]
