"""Where quickstart writes its catalog."""

from __future__ import annotations

from pathlib import Path

import pytest

from tidemark.cli import quickstart
from tidemark.core.errors import UnavailableError, UsageError

TEXT = "tenants: {quickstart: {}}\n"


def written(file: Path) -> str:
    with quickstart._written(file, TEXT):
        return file.read_text(encoding="utf-8")


def test_a_place_where_no_catalog_can_be_is_said_with_the_option(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    for file in (tmp_path / "missing" / "quickstart.yaml", tmp_path, tmp_path / "binary"):
        with pytest.raises(UsageError, match=r"cannot be the catalog: .* --file"):
            written(file)
    assert (tmp_path / "binary").read_bytes() == b"\xff\xfe"


def test_another_catalog_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "quickstart.yaml"
    file.write_text("mine: 1\n")
    with pytest.raises(UsageError, match="says something else"):
        written(file)
    assert file.read_text() == "mine: 1\n"


def test_a_catalog_that_is_there_is_taken_as_it_is_and_stays(tmp_path: Path) -> None:
    file = tmp_path / "quickstart.yaml"
    assert written(file) == TEXT
    file.chmod(0o400)
    assert written(file) == TEXT
    with pytest.raises(UnavailableError), quickstart._written(file, TEXT):
        raise UnavailableError("Postgres is away.")
    assert file.read_text() == TEXT


def test_a_new_catalog_that_cannot_be_applied_goes(tmp_path: Path) -> None:
    file = tmp_path / "quickstart.yaml"
    with pytest.raises(UnavailableError), quickstart._written(file, TEXT):
        raise UnavailableError("Postgres is away.")
    assert not file.exists()


def test_what_fails_beside_the_file_is_no_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="elsewhere"), quickstart._written(tmp_path / "quickstart.yaml", TEXT):
        raise OSError("elsewhere")
