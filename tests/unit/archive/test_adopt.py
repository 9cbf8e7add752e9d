"""Which files of a folder are new to an index: finished ones, of each place the last version."""

from __future__ import annotations

from tidemark.archive.adopt import newest

TOP = "topic=e/day=2026-03-01/partition="


def test_only_finished_files_that_are_not_known_are_new_by_partition_and_offset() -> None:
    names = [f"{TOP}1/90-99.parquet", f"{TOP}0/100-149.parquet", f"{TOP}0/20-99.parquet", f"{TOP}0/150.unfinished"]
    assert newest(names, [f"{TOP}0/20-99.parquet"]) == [f"{TOP}0/100-149.parquet", f"{TOP}1/90-99.parquet"]


def test_a_file_that_an_erasure_has_replaced_is_not_the_one() -> None:
    names = [f"{TOP}0/0-9.parquet", f"{TOP}0/0-9.2.parquet", f"{TOP}0/0-9.1.parquet"]
    assert newest(names, []) == [f"{TOP}0/0-9.2.parquet"]
    # One of its versions is in the index: the place is known.
    assert newest(names, [f"{TOP}0/0-9.1.parquet"]) == []
