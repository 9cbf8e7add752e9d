"""Who a stack runs as, what is given to that user, and how it reaches what lies in a folder of root."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local import exposure, secured
from infra.local.account import NUMBERS, Account
from infra.local.confined import closed_above
from infra.local.paths import Paths
from infra.local.programs import _refuse_closed
from tidemark.core.errors import UnavailableError, UsageError


def test_who_is_not_root_runs_the_services_itself(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1_000)
    monkeypatch.setattr(os, "getegid", lambda: 1_001)
    assert Account.of(tmp_path) == Account(1_000, 1_001)
    assert not Account.of(tmp_path).is_other


def test_root_hands_over_to_a_number_that_is_nobodys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    taken = {NUMBERS[0], NUMBERS[1]}

    def look_up(number: int) -> None:
        if number not in taken:
            raise KeyError

    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(pwd, "getpwuid", look_up)
    assert Account.of(tmp_path) == Account(NUMBERS[2], NUMBERS[2])
    taken.update(NUMBERS)
    with pytest.raises(UnavailableError, match="have all numbers"):
        Account.of(tmp_path)


def test_a_stack_keeps_its_user_until_somebody_else_gets_the_number(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root = tmp_path / "stack"
    root.mkdir()
    Account(NUMBERS[5], NUMBERS[5]).admit(root)
    assert Account.of(root).uid == NUMBERS[5]
    monkeypatch.setattr(pwd, "getpwuid", lambda number: {NUMBERS[5]: "somebody"}[number])
    assert Account.of(root).uid == NUMBERS[0]


def test_services_own_data_and_secrets_and_read_their_configuration(tmp_path: Path) -> None:
    paths, account = Paths.of(tmp_path / "stack"), Account(NUMBERS[3], NUMBERS[3])
    for folder in (paths.conf, paths.data / "kafka", paths.logs, paths.work):
        folder.mkdir(parents=True)
    for file in (
        paths.settings,
        paths.ports,
        paths.passfile,
        paths.admin_passfile,
        paths.conf / "redis.conf",
        paths.data / "kafka/log",
    ):
        file.touch(mode=0o644)
    account.admit(paths.root)
    account.settle(paths)
    seen = {
        str(path.relative_to(paths.root)): (path.stat().st_uid, path.stat().st_mode & 0o777)
        for path in paths.root.rglob("*")
    }
    assert seen["conf/redis.conf"] == seen["settings.yaml"] == (0, 0o640)
    assert seen["conf"] == (0, 0o750)
    assert seen["pgpass"] == seen["data/kafka/log"] == (account.uid, 0o600)
    assert seen["data"] == seen["data/kafka"] == (account.uid, 0o700)
    # The superuser's stays with root; as it is here, others read it.
    assert seen["pgpass-admin"] == (0, 0o644)
    assert exposure.files(paths.root) == [paths.admin_passfile]


def test_a_file_that_is_linked_from_the_stack_is_not_given_away(tmp_path: Path) -> None:
    (outside := tmp_path / "outside").touch(mode=0o644)
    (folder := tmp_path / "data").mkdir()
    (folder / "link").symlink_to(outside)
    Account(NUMBERS[0], NUMBERS[0]).own(folder)
    assert (outside.stat().st_uid, outside.stat().st_mode & 0o777) == (0, 0o644)


def test_what_its_user_cannot_read_is_named_with_the_way_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(UsageError, match=f"who cannot read {tmp_path}.*chmod -R go"):
        _refuse_closed([Path("/usr"), tmp_path])


REACHED = """
import os, subprocess, sys
from pathlib import Path
from infra.local.confined import make_reachable
os.umask(0o077)
make_reachable([Path(path) for path in sys.argv[1:3]])
script = "cat $0; ls -R $1"
subprocess.run(["setpriv", "--reuid=60901", "--regid=60901", "--clear-groups", "sh", "-c", script, *sys.argv[3:]])
"""


def test_a_path_below_a_closed_folder_is_reached_and_nothing_else_of_it(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    needed = closed / "needed"
    inner = needed / "again-closed" / "inner"
    inner.mkdir(parents=True)
    (closed / "private").write_text("not for services")
    (inner / "file").write_text("for services\n")
    for folder in (closed, inner.parent):
        folder.chmod(0o700)
    assert closed_above(inner / "file") in {closed, *closed.parents}
    command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-c", REACHED]
    done = subprocess.run(
        [*command, *map(str, (needed, inner, inner / "file", closed))], check=False, capture_output=True, text=True
    )
    assert done.stdout.startswith("for services\n"), done.stderr
    assert "private" not in done.stdout
    # Outside nothing has changed.
    assert sorted(path.name for path in closed.iterdir()) == ["needed", "private"]


def test_no_password_stands_in_an_argument_of_kafkas_storage_tool(tmp_path: Path) -> None:
    argument = secured.write_kafka_users(tmp_path / "users", {"reader": "secret-1"})
    assert argument == f"@{tmp_path / 'users'}"
    assert (tmp_path / "users").read_text() == "--add-scram\nSCRAM-SHA-512=[name=reader,password=secret-1]\n"
    assert (tmp_path / "users").stat().st_mode & 0o777 == 0o600
