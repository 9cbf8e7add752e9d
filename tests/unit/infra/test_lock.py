"""Nothing is installed without a hash, from a place that a file names, or as a source where there is a wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.supply import lock
from infra.supply.closure import BUILDERS, FLINK, SERVICES, closure

ROOT = lock.ROOT
OURS = (lock.PRODUCT, lock.JOBS, lock.DEVELOPMENT, lock.EXTRA)
FILES = (*OURS, lock.TOOLS)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_each_version_has_a_hash_and_no_file_names_an_index(file: Path) -> None:
    assert lock.blocks(file.read_text()).keys() == lock.versions(file.read_text()).keys()
    assert not re.search(r"https?:|index|find-links|trusted-host", file.read_text())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a==1\nb==2 \\\n    --hash=sha256:" + "0" * 64 + "\n", "no hash of a"),
        ("a==1 \\\n    --hash=md5:0\n", "neither"),
        ("a>=1\n", "neither"),
        ("--index-url x\n", "neither"),
        ("git+ssh://x\n", "neither"),
    ],
)
def test_a_requirement_without_a_hash_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lock.blocks(text)


def test_the_image_has_what_the_product_needs_and_nothing_of_the_tests() -> None:
    product, jobs, development, extra = (set(lock.versions(file.read_text())) for file in OURS)
    assert product == closure(SERVICES) | set(BUILDERS)
    assert product | jobs == closure(FLINK) | set(BUILDERS)
    assert "apache-flink" in jobs
    assert {"pytest", "mypy", "playwright"} <= development
    assert len(product | jobs | development | extra) == sum(map(len, (product, jobs, development, extra)))


def test_each_image_has_all_that_its_packages_need() -> None:
    """pip takes nothing in that a lock file does not have."""
    services = set(lock.versions(lock.PRODUCT.read_text()))
    flink = services | set(lock.versions(lock.JOBS.read_text()))
    assert closure(services) <= services
    assert closure(flink) <= flink


@pytest.mark.parametrize("folder", [".", "sdk/python"])
def test_each_dependency_that_is_declared_is_locked_at_a_version_that_it_allows(folder: str) -> None:
    about = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    locked = {name: version for file in OURS for name, version in lock.versions(file.read_text()).items()}
    declared = [*about["dependencies"], *(one for extra in about["optional-dependencies"].values() for one in extra)]
    for requirement in map(Requirement, declared):
        name = canonicalize_name(requirement.name)
        assert name == "tidemark-client" or requirement.specifier.contains(locked[name], prereleases=True), name


def test_pip_refuses_a_file_that_a_lock_file_has_no_hash_of(tmp_path: Path) -> None:
    wheel = tmp_path / "somebody-1-py3-none-any.whl"
    wheel.write_bytes(b"PK")
    requirement = tmp_path / "lock.txt"
    requirement.write_text(f"somebody @ {wheel.as_uri()} --hash=sha256:{'0' * 64}\n")
    pip = [sys.executable, "-m", "pip", "install", "--no-index", "--dry-run", "--require-hashes", "--requirement"]
    refused = subprocess.run([*pip, requirement], check=False, capture_output=True, text=True)
    assert refused.returncode
    assert "HASHES FROM THE REQUIREMENTS FILE" in refused.stderr
    requirement.write_text(f"somebody @ {wheel.as_uri()}\n")
    bare = subprocess.run([*pip, requirement], check=False, capture_output=True, text=True)
    assert "all requirements must have their versions pinned" in bare.stderr or "Hashes are required" in bare.stderr


def test_setup_and_image_install_by_lock_files_alone() -> None:
    script = (ROOT / "infra/install_locked.sh").read_text()
    assert script.count('"$pip" install $locked') == script.count('"$pip" install') == 2
    assert "--require-hashes --only-binary :all:" in script
    for file in ("Makefile", "infra/Dockerfile"):
        installs = re.findall(r"pip install ([^\n\\]*)", (ROOT / file).read_text())
        assert installs
        # Our own two packages: their dependencies are there by then, and so is what builds them.
        assert all("--no-deps --no-build-isolation" in one for one in installs), file
