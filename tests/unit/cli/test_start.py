"""How the command line begins: what is imported for a call, what is listed without it, and Ctrl-C meanwhile."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from tidemark.cli import lazy
from tidemark.cli.main import DISTRIBUTION, app

ROOT = Path(__file__).parents[3]
PERIOD = ("period", "--interval", "P1M", "--timezone", "Etc/UTC", "--at", "2024-03-05T12:00:00Z")
HEAVY = {
    "pyflink",
    "py4j",
    "apache_beam",
    "pandas",
    "numpy",
    "kafka",
    "psycopg",
    "duckdb",
    "pyarrow",
    "redis",
    "requests",
}
# A call, and the heavy packages that it needs.
CALLS = {
    ("--version",): set(),
    ("--help",): set(),
    ("sned",): set(),
    PERIOD: set(),
    ("settings", "--check"): set(),
    ("usage", "--help"): {"psycopg", "redis"},
    ("send", "--help"): {"kafka"},
    ("explain", "--help"): {"psycopg", "redis", "kafka", "requests"},
}
LIST_IMPORTS = """
import sys
from tidemark.cli import start
sys.argv = ["tidemark", *sys.argv[1:]]
try:
    start.main()
except SystemExit:
    pass
print("IMPORTED", *{name.partition(".")[0] for name in sys.modules})
"""
INTERRUPTED_AT = """
import sys
from tidemark.cli import start
wanted, sys.argv = sys.argv[1], ["tidemark", "usage", "acme", "c-7"]
class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == wanted:
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupt())
start.main()
"""


def python(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("words", "needed"), CALLS.items(), ids=[call[0] for call in CALLS])
def test_a_call_imports_what_it_needs_and_no_more(words, needed):
    done = python(LIST_IMPORTS, *words)
    imported = done.stdout.rpartition("IMPORTED ")[2].split()
    assert "typer" in imported, done.stderr
    assert HEAVY & {*imported} == needed


def test_the_list_of_commands_is_what_the_modules_register():
    modules = sorted(path.stem for path in (ROOT / "tidemark/cli").glob("*.py") if "def register(" in path.read_text())
    assert sorted({module for module, _ in lazy.COMMANDS.values()}) == modules
    registered = {}
    for module in modules:
        item = typer.Typer()
        import_module(f"tidemark.cli.{module}").register(item)
        for name, command in typer.main.get_group(item).commands.items():
            registered[name] = (module, " ".join((command.help or "").split("\n\n")[0].split()))
    assert registered == lazy.COMMANDS


@pytest.mark.parametrize("module", ["typer", "tidemark.cli.main", "tidemark.cli.usage", "psycopg"])
def test_ctrl_c_during_an_import_ends_without_a_traceback(module):
    done = python(INTERRUPTED_AT, module)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr


def test_version_and_short_help():
    assert CliRunner().invoke(app, ["--version"]).stdout == f"tidemark {version(DISTRIBUTION)}\n"
    for words in ([], ["usage"], ["dlq"], ["dlq", "list"]):
        short, long = (CliRunner().invoke(app, [*words, option]) for option in ("-h", "--help"))
        assert short.exit_code == 0
        assert short.stdout == long.stdout
        assert "Usage:" in short.stdout


def test_a_misspelt_command_is_named_with_what_was_meant():
    done = CliRunner().invoke(app, ["sned"])
    assert done.exit_code == 2
    assert "Did you mean 'send'?" in done.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [("tidemark do", {"down", "doctor"}), ("tidemark dlq re", {"redrive"}), ("tidemark dlq list --rea", {"--reason"})],
)
def test_a_shell_completes_commands_their_commands_and_options(words, expected):
    env = {"_TIDEMARK_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    done = CliRunner().invoke(app, [], env=env, prog_name="tidemark")
    assert {*done.stdout.split()} == expected


@pytest.mark.parametrize("folder", [".", "sdk/python"])
def test_a_package_has_its_licence(folder):
    about = tomllib.loads((ROOT / folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (about["license"], about["license-files"]) == ("Apache-2.0", ["LICENSE"])
    text = (ROOT / folder / "LICENSE").read_text(encoding="utf-8")
    assert "Apache License\n" in text
    assert "9. Accepting Warranty or Additional Liability." in text


@pytest.mark.parametrize("page", ["README.md", *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))])
def test_no_page_installs_the_program_of_somebody_else(page):
    assert not re.search(r"pip install ['\"]?tidemark\b", (ROOT / page).read_text(encoding="utf-8"))


def test_ctrl_c_in_a_client_library_leaves_no_exception_that_was_ignored():
    script = """
import sys
from tidemark.cli import main, start
class Client:
    def __del__(self):
        raise ReferenceError("weakly-referenced object no longer exists")
def run():
    sys.kept = Client()
    raise KeyboardInterrupt
main.app = run
start.main()
"""
    done = python(script)
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert "ReferenceError" not in done.stderr


@pytest.mark.parametrize(("mask", "mode"), [("022", "640"), ("077", "600")])
def test_what_a_command_writes_is_nothing_to_other_users(mask, mode, tmp_path):
    script = """
import os, sys
from pathlib import Path
from tidemark.cli import main, start
os.umask(int(sys.argv[2], 8))
main.app = lambda: Path(sys.argv[1]).write_text("c-7")
start.main()
"""
    assert python(script, str(tmp_path / "export"), mask).returncode == 0
    assert f"{(tmp_path / 'export').stat().st_mode & 0o777:o}" == mode
