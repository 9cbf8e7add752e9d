"""What a reader of the documentation types, on a run of the test: its settings, addresses and keys for those shown."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests

from tests.ports import free_port
from tidemark.core.settings import Settings

ROOT = Path(__file__).parents[3]
RUN_BY = Path(__file__).with_name("test_first_meter.py").relative_to(ROOT)


def shell_blocks(page: str) -> list[str]:
    """Blocks of a page that it says are run by the test."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"<!-- run by [^>]*{re.escape(str(RUN_BY))}[^>]*-->\n```\n(.*?)```", text, re.DOTALL)


def promised(page: str) -> str:
    """What a page says that its commands print."""
    (block,) = re.findall(r"<!-- what it prints -->\n```\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    return str(block)


def code_block(page: str, language: str) -> str:
    """The code of a page in a language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


@dataclass(frozen=True)
class Reader:
    """Somebody at a shell.

    Parameters
    ----------
    settings:
        Of the run.
    here:
        What is here for what a page shows.
    """

    settings: Settings
    here: Mapping[str, str] = field(default_factory=dict)

    def placed(self, text: str) -> str:
        """A text with what is here in it."""
        for shown, own in {"127.0.0.1:8080": self.settings.api.listen, **self.here}.items():
            text = text.replace(shown, own)
        return text

    def tries(self, command: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
        """Run a command, which may fail."""
        environment = os.environ | self.settings.environment()
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.placed(command)], cwd=folder, env=environment, check=False,
            text=True, capture_output=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def runs(self, command: str, folder: Path = ROOT) -> str:
        """What a command prints."""
        done = self.tries(command, folder)
        assert done.returncode == 0, done.stderr
        return done.stdout


def figure(page: str, meter: str) -> str:
    """The exact figure of a meter on a page; empty: it has none yet."""
    html = requests.get(page, timeout=30).text
    found = re.search(rf'data-meter="{re.escape(meter)}".*?data-used title="([^"]*)"', html, re.DOTALL)
    return found[1] if found else ""
