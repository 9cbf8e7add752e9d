"""Migrations: which files are still to be applied, and which disagreements are refused."""

from __future__ import annotations

import pytest

from schemas import SqlFile
from tidemark.core.errors import TidemarkError
from tidemark.core.migrate import checksum, chosen, pending

ONE, TWO, THREE = (SqlFile(f"000{number}_x.sql", f"SELECT {number}".encode()) for number in (1, 2, 3))


def ledger(*files: SqlFile) -> dict[str, str]:
    return {file.name: checksum(file) for file in files}


def test_files_that_were_not_applied_are_pending_in_order() -> None:
    assert pending([ONE, TWO, THREE], ledger(ONE), "usage") == [TWO, THREE]


def test_nothing_is_pending_when_all_were_applied() -> None:
    assert pending([ONE, TWO], ledger(ONE, TWO), "usage") == []


def test_a_changed_applied_file_is_refused() -> None:
    with pytest.raises(TidemarkError, match=r"0001_x\.sql was changed"):
        pending([ONE], {ONE.name: "0" * 64}, "usage")


def test_a_database_of_a_later_version_is_refused() -> None:
    with pytest.raises(TidemarkError, match="not part of this version"):
        pending([ONE], ledger(ONE, TWO), "usage")


def test_a_new_file_before_an_applied_one_is_refused() -> None:
    with pytest.raises(TidemarkError, match="sorts before"):
        pending([ONE, TWO, THREE], ledger(ONE, THREE), "usage")


def test_a_schema_is_made_as_far_as_it_was_when_a_backup_was_made() -> None:
    upto = {"usage": ledger(ONE, TWO)}
    assert chosen([ONE, TWO, THREE], "usage", upto) == [ONE, TWO]
    assert chosen([ONE, TWO, THREE], "billing", upto) == []
    assert chosen([ONE, TWO, THREE], "usage", None) == [ONE, TWO, THREE]


def test_a_backup_that_other_files_made_is_refused() -> None:
    with pytest.raises(TidemarkError, match="not part of this version"):
        chosen([ONE], "usage", {"usage": ledger(ONE, TWO)})
    with pytest.raises(TidemarkError, match="was changed"):
        chosen([ONE], "usage", {"usage": {ONE.name: "0" * 64}})
