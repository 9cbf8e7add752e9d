"""An object store of the tests' stack: moto, which answers as S3 does and keeps objects in memory."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.local.account import Account
from infra.local.paths import write_private
from jobs.flink.rest import wait_until
from tests.ports import free_port
from tidemark.core.settings import S3Settings

BUCKET = "tidemark-test"
_STARTS_WITHIN_S = 60


class ObjectStore:
    """A process on a free port that outlives who started it; what is known of it is in a folder.

    Parameters
    ----------
    folder:
        For its pid and a file of credentials.
    """

    def __init__(self, folder: Path) -> None:
        self._pid, self._keys = folder / "s3.pid", folder / "s3-keys"

    def start(self) -> dict[str, Any]:
        """Start it with an empty bucket; the settings that reach it."""
        port = free_port()
        self._keys.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._keys, "[default]\naws_access_key_id = tests\naws_secret_access_key = tests\n")
        # Flink of the stack reads it too.
        Account.of(self._keys.parent).own(self._keys)
        command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(command, start_new_session=True, **quiet)
        write_private(self._pid, str(process.pid))
        # It outlives this object, and this process.
        process.returncode = 0
        wait_until(lambda: _answers(port), _STARTS_WITHIN_S, "the object store to answer")
        made = S3Settings(endpoint=f"http://127.0.0.1:{port}", region="us-east-1", credentials_file=self._keys)
        _make_bucket(made)
        return {f"s3.{name}": value for name, value in made.model_dump(mode="json").items()}

    def stop(self) -> None:
        """End it, also that of a run that was killed; what was in it is gone."""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            pid = int(self._pid.read_text())
            # The number may be another's by now.
            if b"moto_server" in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.killpg(pid, signal.SIGKILL)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _make_bucket(s3: S3Settings) -> None:
    from pyarrow import fs  # noqa: PLC0415 - not for each test run

    fs.S3FileSystem(
        access_key="tests", secret_key="tests",  # noqa: S106 - not secret
        endpoint_override=urlsplit(s3.endpoint or "").netloc, scheme="http",
        region=s3.region, allow_bucket_creation=True,
    ).create_dir(BUCKET)  # fmt: skip
