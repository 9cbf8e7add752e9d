"""Secrets of receivers: one folder, a file each, no way out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tidemark.delivery.message import Kind, Receiver, ReceiverError
from tidemark.delivery.receiver_keys import keys_of


def of(secret_file: str, kind: Kind = "webhook") -> Receiver:
    return Receiver("r", kind, "https://r.example", secret_file)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "secrets"
    made.mkdir()
    (made / "key").write_text(" new \n\nold\n")
    (made / "one").write_text("abc\n")
    (tmp_path / "outside").write_text("another's\n")
    return made


def test_the_lines_of_a_file_are_the_keys_of_a_receiver(folder: Path) -> None:
    assert keys_of(of("key"), folder) == ("new", "old")
    assert keys_of(of("one", "pagerduty"), folder) == ("abc",)
    assert keys_of(of("", "alertmanager"), folder) == ()


def test_a_link_within_the_folder_is_followed_as_kubernetes_mounts_secrets(folder: Path) -> None:
    (folder / "..data").mkdir()
    (folder / "..data" / "mounted").write_text("k8s")
    (folder / "mounted").symlink_to("..data/mounted")
    assert keys_of(of("mounted"), folder) == ("k8s",)


@pytest.mark.parametrize("name", ["../outside", "link", "sub/../../outside"])
def test_no_name_leads_out_of_the_folder(folder: Path, name: str) -> None:
    (folder / "sub").mkdir()
    (folder / "link").symlink_to("../outside")
    with pytest.raises(ReceiverError, match=r"is not in delivery\.secrets_dir") as raised:
        keys_of(of(name), folder)
    assert "another" not in str(raised.value)


def test_an_absolute_path_is_no_way_out_either(folder: Path) -> None:
    with pytest.raises(ReceiverError, match="is not in"):
        keys_of(of(str(folder.parent / "outside")), folder)


def test_what_is_missing_is_said(folder: Path) -> None:
    (folder / "empty").write_text("\n")
    (folder / "large").write_text("x" * 20_000)
    (folder / "binary").write_bytes(b"\xff\xfe")
    os.mkfifo(folder / "pipe")
    for receiver, where, word in (
        (of(""), folder, "names no secret_file"),
        (of("key"), None, r"delivery\.secrets_dir is not set"),
        (of("absent"), folder, "cannot be read: FileNotFoundError"),
        (of("empty"), folder, "has 0 lines"),
        (of("key", "pagerduty"), folder, "has 2 lines; a pagerduty has 1 to 1"),
        (of("large"), folder, "more than 16384 bytes"),
        (of("binary"), folder, "UnicodeDecodeError"),
        (of("pipe"), folder, "is no file"),
    ):
        with pytest.raises(ReceiverError, match=word):
            keys_of(receiver, where)


def test_no_variable_of_the_environment_is_a_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    with pytest.raises(ReceiverError, match="FileNotFoundError"):
        keys_of(of("AWS_SECRET_ACCESS_KEY"), folder)
