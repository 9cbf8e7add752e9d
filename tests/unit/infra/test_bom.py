"""The page of licences names everything that is locked or fetched, each with a licence, and nothing else."""

from __future__ import annotations

import re
from typing import Any

import pytest
from packaging.utils import canonicalize_name

from infra.local import checksums, provision
from infra.supply import bom

_ROW = re.compile(r"(?m)^\| (\S+) \| (\S+) \| (.+) \|$")


@pytest.fixture(scope="module")
def rows() -> dict[str, list[tuple[str, str, str]]]:
    """Lines of each table of the page."""
    sections = re.split(r"(?m)^## ", bom.PAGE.read_text())[1:]
    return {part: _ROW.findall(section)[1:] for part, section in zip(bom._PARTS, sections, strict=False)}


def test_the_page_has_what_is_locked(rows: dict[str, list[tuple[str, str, str]]]) -> None:
    named = {canonicalize_name(name): version for name, version, _licence in rows["python"]}
    assert named == bom.shipped()


@pytest.mark.parametrize("profile", provision.PROFILES)
def test_the_page_has_the_jars_that_are_fetched(rows: dict[str, list[tuple[str, str, str]]], profile: str) -> None:
    named = {f"{name.partition(':')[2]}-{version}.jar" for name, version, _licence in rows[f"jars-{profile}"]}
    assert named == checksums.expected(profile).keys()


def test_each_has_a_licence(rows: dict[str, list[tuple[str, str, str]]]) -> None:
    assert [name for lines in rows.values() for name, _version, licence in lines if not licence.strip(" |")] == []
    assert not re.search(r"(?m)\|  \|$", bom.PAGE.read_text())


@pytest.mark.parametrize(
    ("licences", "expected"),
    [
        ([{"license": {"id": "MIT"}}], "MIT"),
        ([{"expression": "MIT AND PSF-2.0"}], "MIT AND PSF-2.0"),
        ([{"license": {"name": "License :: OSI Approved :: BSD License"}}], "BSD License"),
        ([{"license": {"id": "MIT"}}, {"license": {"name": "License :: OSI Approved :: MIT License"}}], "MIT"),
        ([], ""),
    ],
)
def test_a_licence_is_an_identifier_where_there_is_one(licences: list[Any], expected: str) -> None:
    assert bom.component({"name": "a", "version": "1", "licenses": licences}).licence == expected


def test_a_bill_is_narrowed_with_its_dependencies() -> None:
    bill = {
        "components": [{"name": "A_b", "bom-ref": "1"}, {"name": "c", "bom-ref": "2"}],
        "dependencies": [{"ref": "1", "dependsOn": ["2"]}, {"ref": "2"}],
    }
    narrow = bom.narrowed(bill, ["a-b"])
    assert narrow == {"components": [{"name": "A_b", "bom-ref": "1"}], "dependencies": [{"ref": "1", "dependsOn": []}]}
