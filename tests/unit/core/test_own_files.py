"""What decides what runs here is taken from nobody else: state, and the settings file of a folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jobs.flink.restore import checkpoint_dir, latest, place
from tidemark.core.errors import UsageError
from tidemark.core.own_files import refuse_foreign
from tidemark.core.settings import FILE_ENV, Settings, load


def at(folder: Path) -> Settings:
    return Settings(flink={"state_dir": folder.as_uri()})


def test_jobs_have_no_folder_of_state_by_default() -> None:
    with pytest.raises(UsageError, match=r"flink\.state_dir is not set"):
        checkpoint_dir(Settings().flink, "tidemark-meter")


def test_own_state_is_taken(tmp_path: Path) -> None:
    state = tmp_path / "checkpoints/job/chk-1"
    state.mkdir(parents=True)
    (state / "_metadata").touch()
    found = latest(at(tmp_path), "job")
    assert found is not None
    assert found.path.endswith("chk-1")


@pytest.mark.parametrize("folder", ["", "checkpoints", "savepoints"])
def test_state_that_everybody_may_write_is_refused(tmp_path: Path, folder: str) -> None:
    state = tmp_path / "state"
    for name in ("checkpoints", "savepoints"):
        (state / name).mkdir(parents=True)
    (state / folder).chmod(0o777)
    with pytest.raises(UsageError, match="everybody may write the folder of state"):
        latest(at(state), "job")


def test_state_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    if os.geteuid() == 0:
        os.chown(tmp_path, 12_345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12_345)
    with pytest.raises(UsageError, match="belongs to user"):
        refuse_foreign(tmp_path, "the folder of state")


def test_state_of_the_user_of_flink_is_taken_where_the_settings_name_it(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    os.chown(tmp_path / "checkpoints", 12_345, -1)
    with pytest.raises(UsageError, match="belongs to user 12345"):
        latest(at(tmp_path), "job")
    assert latest(at(tmp_path).with_changes({"flink.state_user": "12345"}), "job") is None
    with pytest.raises(UsageError, match="belongs to user 12345"):
        latest(at(tmp_path).with_changes({"flink.state_user": "root"}), "job")
    with pytest.raises(UsageError, match="no user 'nobody-here'"):
        latest(at(tmp_path).with_changes({"flink.state_user": "nobody-here"}), "job")


def test_what_root_writes_into_the_state_of_flinks_user_that_user_may_change(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o700)
    os.chown(tmp_path / "state", 12_345, 12_345)
    place(at(tmp_path), f"{(tmp_path / 'state').as_uri()}/checkpoints/job").write("submitted.json", "{}")
    made = [path.stat() for path in sorted((tmp_path / "state").rglob("*"))]
    assert [(found.st_uid, found.st_gid, found.st_mode & 0o777) for found in made] == [
        (12_345, 12_345, 0o700), (12_345, 12_345, 0o700), (12_345, 12_345, 0o600)
    ]  # fmt: skip


def test_what_is_not_there_is_nobodys(tmp_path: Path) -> None:
    refuse_foreign(tmp_path / "none", "the folder of state")


def test_settings_that_somebody_left_in_a_folder_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(FILE_ENV, raising=False)
    file = tmp_path / ".tidemark/local/settings.yaml"
    file.parent.mkdir(parents=True)
    file.write_text("flink: {lib_dir: /somewhere}\n")
    file.chmod(0o600)
    assert load().flink.lib_dir == Path("/somewhere")
    file.chmod(0o666)
    with pytest.raises(UsageError, match="everybody may write the settings file of this folder"):
        load()
