"""Talk to supervisord, which starts the services, restarts them when they die, and keeps their logs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from supervisor.xmlrpc import SupervisorTransport  # type: ignore[import-untyped]

from infra.local.paths import Paths
from infra.local.programs import base_environment
from jobs.errors import UnavailableError

_POLL_S = 0.1
_START_S = 15.0
# Above the longest stop_wait_s of a program, all of which are stopped at once.
_STOP_S = 90.0


class Supervisor:
    """supervisord of one stack."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def pid(self) -> int | None:
        """Process id of the running supervisord, or None; a stale pid file is told by the command line."""
        try:
            pid = int(self._paths.supervisor_pid.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError):
            return None
        return pid if os.fsencode(self._paths.supervisor_conf) in command else None

    def start(self) -> None:
        """Start supervisord with the current configuration; it starts the programs.

        Raises
        ------
        UnavailableError
            It ended at once, or did not answer in time.

        """
        daemon = Path(sys.prefix) / "bin/supervisord"
        self._paths.supervisor_socket.unlink(missing_ok=True)
        command = [sys.executable, str(daemon), "-c", str(self._paths.supervisor_conf)]
        done = subprocess.run(command, env=base_environment(), check=False, text=True, capture_output=True)
        if done.returncode != 0:
            raise UnavailableError(f"supervisord did not start: {(done.stdout + done.stderr).strip()}")
        _until(self.answers, _START_S, f"supervisord did not answer within {_START_S:.0f} s.", self._paths.logs)

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            self._rpc().supervisor.getState()
        except (OSError, xmlrpc.client.Error):
            return False
        return True

    def update(self) -> list[str]:
        """Take over a changed configuration; returns the programs that were added, changed or removed."""
        added, changed, removed = self._rpc().supervisor.reloadConfig()[0]
        for name in (*changed, *removed):
            self._rpc().supervisor.stopProcessGroup(name)
            self._rpc().supervisor.removeProcessGroup(name)
        for name in (*changed, *added):
            self._rpc().supervisor.addProcessGroup(name)
        return [*added, *changed, *removed]

    def state(self, program: str) -> dict[str, Any]:
        """Supervisord's word on a program: statename, pid, start, now, spawnerr ..."""
        info: dict[str, Any] = self._rpc().supervisor.getProcessInfo(program)
        return info

    def start_program(self, program: str) -> None:
        """Start a program unless it runs."""
        if self.state(program)["statename"] not in {"RUNNING", "STARTING", "BACKOFF"}:
            self._rpc().supervisor.startProcess(program, False)

    def stop_program(self, program: str) -> None:
        """Stop a program, and wait until it has ended."""
        if self.state(program)["statename"] not in {"STOPPED", "EXITED", "FATAL"}:
            self._rpc().supervisor.stopProcess(program, True)

    def restart_program(self, program: str) -> None:
        """Stop a program and start it again."""
        self.stop_program(program)
        self.start_program(program)

    def shutdown(self) -> None:
        """Stop every program and supervisord itself, and wait until they have ended."""
        pid = self.pid()
        if pid is None:
            return
        if self.answers():
            self._rpc().supervisor.shutdown()
        else:
            os.kill(pid, signal.SIGTERM)
        _until(
            lambda: self.pid() is None,
            _STOP_S,
            f"supervisord ({pid}) did not end in {_STOP_S:.0f} s.",
            self._paths.logs,
        )

    def _rpc(self) -> Any:
        # The host is not used: the transport goes through the socket.
        transport = SupervisorTransport(None, None, f"unix://{self._paths.supervisor_socket}")
        return xmlrpc.client.ServerProxy("http://localhost", transport=transport)


def _until(condition: Any, seconds: float, message: str, logs: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UnavailableError(message, f"read {logs}/supervisord.log.")
        time.sleep(_POLL_S)
