"""Talk to supervisord, which starts the services, restarts them when they die, and keeps their logs."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from infra.local.paths import Paths
from infra.local.programs import base_environment, confined
from infra.local.provision import locations
from tidemark.core.errors import UnavailableError

_POLL_S = 0.1
_START_S = 15.0
_WAIT = "wait until a `tidemark down` or `up` has ended, then `tidemark up`."
# Above the longest stop_wait_s of a program; supervisord stops all of them at once.
_STOP_S = 90.0
_CALL_S = _STOP_S
# Its fault when a program is not in its configuration.
_BAD_NAME = 10


class Supervisor:
    """supervisord of one stack; what is asked of it raises UnavailableError while it stops, or is gone."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def pid(self) -> int | None:
        """Process id of the running supervisord, or None; the command line of the process reveals a stale pid file."""
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
        environment = {**base_environment(), "HOME": str(self._paths.work)}
        done = subprocess.run(
            confined(self._paths, locations(), command), env=environment, check=False, text=True, capture_output=True
        )
        if done.returncode != 0:
            raise UnavailableError(f"supervisord did not start: {(done.stdout + done.stderr).strip()}")
        _until(self.answers, _START_S, f"supervisord did not answer within {_START_S:.0f} s.", self._paths.logs)

    def answers(self) -> bool:
        """Whether it accepts commands."""
        try:
            self._call("getState")
        except UnavailableError:
            return False
        return True

    def update(self) -> list[str]:
        """Apply a changed configuration; returns the programs that were added, changed or removed."""
        added, changed, removed = self._call("reloadConfig")[0]
        for name in (*changed, *removed):
            self._call("stopProcessGroup", name)
            self._call("removeProcessGroup", name)
        for name in (*changed, *added):
            self._call("addProcessGroup", name)
        return [*added, *changed, *removed]

    def state(self, program: str) -> dict[str, Any]:
        """Supervisord's information about a program: statename, pid, start, now ...; UNKNOWN where it knows none."""
        try:
            info: dict[str, Any] = self._call("getProcessInfo", program)
        except UnavailableError as error:
            if getattr(error.__cause__, "faultCode", None) != _BAD_NAME:
                raise
            # Settings name it, and no `up` has come as far as to say so to supervisord.
            return {"statename": "UNKNOWN", "pid": 0, "start": 0, "now": 0}
        return info

    def start_program(self, program: str) -> None:
        """Start a program unless it runs."""
        if self.state(program)["statename"] not in {"RUNNING", "STARTING", "BACKOFF"}:
            self._call("startProcess", program, False)

    def stop_program(self, program: str) -> None:
        """Stop a program, and wait until it has ended."""
        if self.state(program)["statename"] not in {"STOPPED", "EXITED", "FATAL"}:
            self._call("stopProcess", program, True)

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
            self._call("shutdown")
        else:
            os.kill(pid, signal.SIGTERM)
        _until(
            lambda: self.pid() is None,
            _STOP_S,
            f"supervisord ({pid}) did not end in {_STOP_S:.0f} s.",
            self._paths.logs,
        )

    def _call(self, method: str, *arguments: Any) -> Any:
        try:
            # The host is not used: the transport goes through the socket.
            transport = _SocketTransport(str(self._paths.supervisor_socket))
            with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as proxy:
                return getattr(proxy.supervisor, method)(*arguments)
        except xmlrpc.client.Fault as error:
            what = f"supervisord refuses {method}: {error.faultString}."
            raise UnavailableError(what, _WAIT) from error
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise UnavailableError(f"supervisord does not answer: {error}.", _WAIT) from error


class _SocketTransport(xmlrpc.client.Transport):
    """XML-RPC over a Unix socket."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        """Connect to the socket, whatever the host."""
        del host
        self._connection = "", _SocketConnection(self._address)
        return self._connection[1]


class _SocketConnection(http.client.HTTPConnection):
    def __init__(self, address: str) -> None:
        super().__init__("localhost", timeout=_CALL_S)
        self._address = address

    def connect(self) -> None:
        """Open the socket."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._address)


def _until(condition: Any, seconds: float, message: str, logs: Path) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise UnavailableError(message, f"read {logs}/supervisord.log.")
        time.sleep(_POLL_S)
