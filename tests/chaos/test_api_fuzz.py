"""Requests made from the OpenAPI document against a real process: it never fails, and answers as the document says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.conftest import opened
from tests.integration.storage import own_run
from tidemark.core import topics

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
COMMAND = "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"


@pytest.mark.drill
def test_what_the_document_allows_and_what_it_does_not_is_answered_as_it_says(stack: Any, tmp_path: Path) -> None:
    with own_run(stack.settings) as settings:
        changes = {"topics.events": f"test.{settings.run_id}", "api.tenant_events_per_s": 1_000_000}
        run = settings.with_changes(changes)
        topics.apply(run)
        with opened(run, f"fuzz-{run.run_id}", tmp_path / "serve.log") as door:
            asked = [
                "run", f"{door.url}/openapi.json", "--header", f"Authorization: Bearer {door.key('admin')}",
                "--checks", CHECKS, "--exclude-path", "/v1/stream", "--max-examples", "60", "--no-color",
                "--generation-deterministic", "--continue-on-failure", "--request-timeout", "30",
            ]  # fmt: skip
            done = subprocess.run(
                [sys.executable, "-c", COMMAND, *asked], capture_output=True, text=True, timeout=900, check=False,
                cwd=tmp_path,
            )  # fmt: skip
            (tmp_path / "schemathesis.txt").write_text(done.stdout + done.stderr)
            assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
            assert door.served.lines("failed", "api") == []
