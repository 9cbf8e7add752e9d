"""Files of the archive: what is written is read back, names give the content, a folder belongs to one index."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.s3_server import S3Server
from tidemark.archive import layout, parquet
from tidemark.archive.layout import Folder
from tidemark.archive.verify import uneven
from tidemark.core.errors import TidemarkError, UnavailableError, UsageError
from tidemark.core.kafka import Record
from tidemark.core.settings import Settings
from udfs.values import instant

DAY = date(2024, 2, 29)
BYTES = st.none() | st.binary(max_size=40)
RECORDS = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.integers(0, 4_102_444_800_000),
        BYTES,
        BYTES,
        st.lists(st.tuples(st.text(max_size=8), BYTES), max_size=3).map(tuple),
    ),
    min_size=1,
    max_size=30,
)


def numbered(rows: list[tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes], ...]]]) -> list[Record]:
    """Records with ascending offsets, some left out."""
    offset, made = -1, []
    for step, *rest in rows:
        offset += step
        made.append(Record(3, offset, *rest))
    return made


# The first file waits for libraries to be loaded.
@given(RECORDS)
def test_records_are_read_back_as_they_were(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("archive") / "file.parquet"
    records = numbered(rows)
    with parquet.Writer(path) as writer:
        for record in records:
            writer.add(record)
    assert list(parquet.read(path, 3)) == records
    arrivals = [record.timestamp_ms for record in records]
    assert (writer.first, writer.last, writer.rows) == (records[0].offset, records[-1].offset, len(records))
    assert (writer.arrival_min_ms, writer.arrival_max_ms) == (min(arrivals), max(arrivals))


def test_a_writer_holds_one_row_group_however_many_records_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 10)
    with parquet.Writer(tmp_path / "file") as writer:
        for offset in range(95):
            writer.add(Record(0, offset, offset, None, b"x"))
            assert len(writer._group) < 10
    assert parquet.pq.ParquetFile(tmp_path / "file").num_row_groups == 10
    assert [record.offset for record in parquet.read(tmp_path / "file", 0)] == list(range(95))


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """The system takes no more bytes of a file, as where the disk is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def write(path: Path, records: list[Record]) -> None:
    with parquet.Writer(path) as writer:
        for record in records:
            writer.add(record)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_file_that_the_disk_does_not_take_is_named(tmp_path: Path, size: int) -> None:
    path = tmp_path / "0.unfinished"
    with files_of_at_most(size), pytest.raises(UnavailableError, match=f"{path} cannot be written") as refused:
        write(path, [Record(0, offset, offset, None, os.urandom(100), ()) for offset in range(1_000)])
    assert "free space" in refused.value.fix


def test_a_folder_that_the_disk_does_not_take_is_named(tmp_path: Path) -> None:
    with files_of_at_most(0), pytest.raises(UnavailableError, match="cannot be written"):
        Folder.of(Settings.model_validate({"archive": {"dir": str(tmp_path)}})).claim("a", known_files=0)


def test_names_say_topic_day_partition_offsets_and_version() -> None:
    name = layout.file_name("usage.events", DAY, 2, 17, 40)
    assert name == "topic=usage.events/day=2024-02-29/partition=2/17-40.parquet"
    assert (layout.place_of(name), layout.version_of(name)) == ((2, 17), 0)
    later = layout.file_name("usage.events", DAY, 2, 17, 40, 3)
    assert later.endswith("/17-40.3.parquet")
    assert (layout.place_of(later), layout.version_of(later)) == ((2, 17), 3)


def test_what_is_unfinished_has_no_place(tmp_path: Path) -> None:
    path = local(tmp_path).unfinished("t", DAY, 0, 5)
    assert layout.place_of(path.relative_to(tmp_path).as_posix()) is None


def local(path: Path) -> Folder:
    return Folder.of(Settings(archive={"dir": str(path)}))


@pytest.mark.parametrize("text", ["{}", "file://{}", "file://localhost{}"])
def test_a_folder_is_named_by_path_or_uri(tmp_path: Path, text: str) -> None:
    assert Folder.of(Settings(archive={"dir": text.format(tmp_path)})).place.path == str(tmp_path)


@pytest.mark.parametrize("text", ["", "gs://bucket/archive", "file://elsewhere/archive"])
def test_what_is_no_folder_here_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"archive\.dir"):
        Folder.of(Settings(archive={"dir": text}))


def test_a_folder_belongs_to_the_index_that_claimed_it(tmp_path: Path) -> None:
    folder = local(tmp_path / "new")
    folder.claim("one", known_files=0)
    folder.claim("one", known_files=9)
    with pytest.raises(TidemarkError, match="is archive one, not two"):
        folder.claim("two", known_files=0)


def test_an_empty_folder_is_refused_when_the_index_knows_files(tmp_path: Path) -> None:
    with pytest.raises(TidemarkError, match="has 3 files"):
        local(tmp_path).claim("one", known_files=3)
    assert list(tmp_path.iterdir()) == []


def test_a_quarantined_file_is_not_lost(tmp_path: Path) -> None:
    folder = local(tmp_path)
    name = layout.file_name("t", DAY, 0, 0, 1)
    folder.unfinished("t", DAY, 0, 0).write_bytes(b"only copy")
    folder.finish(folder.unfinished("t", DAY, 0, 0), name)
    assert list(folder.files("t")) == [name]
    quarantined = folder.quarantine(name)
    assert (tmp_path / quarantined).read_bytes() == b"only copy"
    assert list(folder.files("t")) == []


def test_in_s3_a_file_is_uploaded_whole_once_and_never_replaced(s3: S3Server, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("[default]\naws_access_key_id = of-the-file\naws_secret_access_key = x%y\n")
    reached = {"endpoint": s3.url, "credentials_file": str(keys)}
    folder, other = (Folder.of(Settings(archive={"dir": "s3://bucket/deep/archive"}, s3=reached)) for _ in range(2))
    folder.claim("one", known_files=0)
    with pytest.raises(TidemarkError, match="is archive one, not two"):
        other.claim("two", known_files=0)
    name = layout.file_name("t", DAY, 0, 0, 1)
    for writer, content in ((folder, b"first"), (other, b"second")):
        writer.unfinished("t", DAY, 0, 0).write_bytes(content)
    # Given two that write the same file, when one has, then the other cannot replace it.
    folder.finish(folder.unfinished("t", DAY, 0, 0), name)
    with pytest.raises(TidemarkError, match=r"0-1\.parquet exists already: another process writes here"):
        other.finish(other.unfinished("t", DAY, 0, 0), name)
    assert s3.objects == {
        "bucket/deep/archive/archive.json": b'{"archive_id": "one"}\n', f"bucket/deep/archive/{name}": b"first",
    }  # fmt: skip
    assert s3.signed_by == {"of-the-file"}
    assert list(folder.files("t")) == [name]
    assert (folder.place.size(name), folder.place.size("nothing")) == (5, None)


@pytest.mark.parametrize("content", ["", "aws_access_key_id = x", "[default]\naws_access_key_id = secret-one\n", None])
def test_a_file_of_credentials_that_lacks_a_key_is_named_and_not_shown(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "keys").write_text(content)
    with pytest.raises(UsageError, match=r"s3\.credentials_file .*/keys") as refused:
        Folder.of(Settings(archive={"dir": "s3://bucket/a"}, s3={"credentials_file": str(tmp_path / "keys")}))
    assert "secret-one" not in str(refused.value)


@pytest.mark.parametrize(
    ("ranges", "faults"),
    [
        ([], []),
        #  0────9 10 11───20
        ([(11, 20), (0, 9), (10, 10)], []),
        #  ·····5───9
        ([(5, 9)], ["offsets 0-4 are in no file and in no gap"]),
        #  0───4 ···· 8───9
        ([(0, 4), (8, 9)], ["offsets 5-7 are in no file and in no gap"]),
        #  0─────5
        #      4────9
        ([(0, 5), (4, 9)], ["offsets 4-5 are there twice"]),
        #  0────────9
        #    2──3
        ([(0, 9), (2, 3)], ["offsets 2-3 are there twice"]),
    ],
)
def test_offsets_must_be_tiled(ranges: list[tuple[int, int]], faults: list[str]) -> None:
    assert uneven(ranges) == faults


def test_arrivals_are_instants_in_utc() -> None:
    assert instant(1_709_164_800_123) == datetime(2024, 2, 29, 0, 0, 0, 123_000, UTC)
