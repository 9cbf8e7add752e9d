"""A submission ends with whoever began it: else the next one, which finds no job yet, would start a second."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from jobs.flink.rest import wait_until

# In the place of Flink's client, which takes half a minute.
CLIENT = "#!/bin/sh\necho $$ > $FLINK_HOME/pid\nexec sleep 60\n"
SUBMIT = """
from pathlib import Path
from jobs.flink.submit import flink_run
from tidemark.core.settings import Settings
flink_run(Settings(), Path("jobs/meter/job.py"), [])
"""


def is_at_work(pid: int) -> bool:
    """Whether a process is there, and not only waits for its parent to ask how it ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_flinks_client_is_killed_with_the_process_that_submits(tmp_path: Path) -> None:
    client, pid = tmp_path / "bin" / "flink", tmp_path / "pid"
    client.parent.mkdir()
    client.write_text(CLIENT)
    client.chmod(0o755)
    with subprocess.Popen([sys.executable, "-c", SUBMIT], env={**os.environ, "FLINK_HOME": str(tmp_path)}) as submitter:
        wait_until(lambda: pid.is_file() and pid.read_text().endswith("\n"), 30, "the client", every_s=0.02)
        started = int(pid.read_text())
        assert is_at_work(started)
        submitter.send_signal(signal.SIGKILL)
    wait_until(lambda: not is_at_work(started), 5, "the client to end", every_s=0.02)
