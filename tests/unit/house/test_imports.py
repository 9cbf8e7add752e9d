"""The contracts of imports are kept as the code is, and each is broken by an import that it forbids."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FOLDERS = ("tidemark", "jobs", "udfs", "schemas", "infra", "sdk/python/tidemark_client")
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
# A file, what it is made to import, and the contract that must notice.
PLANTED = [
    ("udfs/events/parse.py", "tidemark.core.settings", "Imports go down"),
    ("tidemark/core/names.py", "jobs.flink.submit", "Imports go down"),
    ("jobs/flink/plans.py", "tidemark.billing.store", "Imports go down"),
    ("tidemark/billing/lines.py", "tidemark.cli.output", "Imports go down"),
    ("tidemark/live/board.py", "tidemark.serve.roles", "Imports go down"),
    ("tidemark/catalog/text.py", "tidemark.billing.store", "Folders have no cycles"),
    ("udfs/calendars/cuts.py", "udfs.catalog.index", "Folders have no cycles"),
    ("jobs/rollup/job.py", "jobs.meter.job", "The three jobs"),
    ("udfs/meters/paths.py", "pyflink", "What workers load"),
    ("tidemark/oracle/paths.py", "udfs.meters.paths", "The oracle"),
    ("infra/local/ports.py", "jobs.flink.rest", "The local stack"),
    ("sdk/python/tidemark_client/keys.py", "udfs.values", "The SDK"),
]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checkout")
    for folder in FOLDERS:
        shutil.copytree(ROOT / folder, root / folder, ignore=lambda _, names: [n for n in names if not is_source(n)])
    shutil.copy(ROOT / "pyproject.toml", root)
    return root


def is_source(name: str) -> bool:
    return name.endswith(".py") or ("." not in name and name != "__pycache__")


def lint(root: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", *options]
    paths = os.pathsep.join((str(root), str(root / "sdk" / "python")))
    environment = {**os.environ, "PYTHONPATH": paths, "COLUMNS": "200"}
    return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=120)


def test_the_code_keeps_every_contract(checkout: Path) -> None:
    done = lint(checkout)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONFIG['contracts'])} kept, 0 broken" in done.stdout


def test_each_contract_notices_what_it_forbids(checkout: Path) -> None:
    before = {file: (checkout / file).read_text("utf-8") for file, _, _ in PLANTED}
    for file, module, _ in PLANTED:
        with (checkout / file).open("a", encoding="utf-8") as text:
            text.write(f"\nimport {module}\n")
    try:
        done = lint(checkout)
    finally:
        for file, text in before.items():
            (checkout / file).write_text(text, "utf-8")
    assert done.returncode != 0
    broken = [line for line in done.stdout.splitlines() if " BROKEN" in line]
    assert {wanted for _, _, wanted in PLANTED if any(line.startswith(wanted) for line in broken)} == {
        contract for _, _, contract in PLANTED
    }
    for file, module, _ in PLANTED:
        importer = file.removeprefix("sdk/python/").removesuffix(".py").replace("/", ".")
        if importer.partition(".")[0] != module.partition(".")[0]:
            assert f"{importer} -> {module}" in done.stdout


def test_every_contract_is_tried() -> None:
    named = [contract["name"] for contract in CONFIG["contracts"]]
    assert all(any(name.startswith(wanted) for _, _, wanted in PLANTED) for name in named)


def test_every_folder_has_its_place_in_the_layers() -> None:
    layers = next(contract["layers"] for contract in CONFIG["contracts"] if contract["type"] == "layers")
    placed = {name.strip() for layer in layers for name in layer.split(":")}
    capabilities = {f"tidemark.{path.parent.name}" for path in (ROOT / "tidemark").glob("*/__init__.py")}
    assert placed == capabilities | {"infra", "jobs", "udfs", "schemas", "tidemark_client"}
