"""No jar is used whose bytes nobody has seen before, and none that nobody asked for."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from infra.local import checksums, provision
from infra.local.progress import Silent
from tidemark.core.errors import TidemarkError


@pytest.fixture
def listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two jars that are in a list."""
    folder = tmp_path / "flink"
    folder.mkdir()
    for name in ("a-1.jar", "b-1.jar"):
        (folder / name).write_text(name)
    monkeypatch.setattr(checksums, "LIST", tmp_path / "jars.sha256")
    checksums.LIST.write_text(checksums.text({"flink": folder}))
    return folder


def test_what_is_listed_is_taken(listed: Path) -> None:
    checksums.verify(listed, "flink")


def test_a_jar_with_other_bytes_is_refused(listed: Path) -> None:
    (listed / "a-1.jar").write_text("something else")
    with pytest.raises(TidemarkError, match=r"a-1\.jar is [0-9a-f]{64}, not [0-9a-f]{64}"):
        checksums.verify(listed, "flink")


def test_a_jar_without_a_checksum_is_refused(listed: Path) -> None:
    (listed / "c-1.jar").touch()
    with pytest.raises(TidemarkError, match=r"c-1\.jar is not in the list"):
        checksums.verify(listed, "flink")
    with pytest.raises(TidemarkError, match=r"is not in the list.*c-1\.jar is not in the list"):
        checksums.verify(listed, "kafka")


def test_a_missing_jar_is_named(listed: Path) -> None:
    (listed / "b-1.jar").unlink()
    with pytest.raises(TidemarkError, match=r"b-1\.jar was not fetched"):
        checksums.verify(listed, "flink")


def test_a_fetch_of_other_jars_leaves_nothing_behind(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert listed.is_dir()
    monkeypatch.setattr(provision, "_copy_jars", lambda _profile, target: (target / "a-1.jar").write_text("changed"))
    with pytest.raises(TidemarkError, match="jars differ"):
        provision.once(tmp_path / "jars", Silent(), "fetching", provision._jars("flink"))
    assert not (tmp_path / "jars").exists()


@pytest.mark.parametrize("profile", provision.PROFILES)
def test_each_profile_of_the_pom_has_its_list(profile: str) -> None:
    assert checksums.expected(profile)
    assert f"<id>{profile}</id>" in provision.POM.read_text()


def test_the_list_is_one_that_sha256sum_reads_and_has_no_other_profile() -> None:
    lines = checksums.LIST.read_text().splitlines()
    assert all(re.fullmatch(r"[0-9a-f]{64}  (flink|flink-s3|kafka|zookeeper)/[\w.-]+\.jar", line) for line in lines)
    assert {*re.findall("<id>(.*?)</id>", provision.POM.read_text())} == {*provision.PROFILES}
