"""Words that nobody outside this project would know are not used again: say what the field says instead."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SUFFIXES = {".py", ".sql", ".lua", ".md", ".yaml", ".json", ".toml", ".sh"}
TOPS = ("docs", "infra", "jobs", "schemas", "sdk", "tests", "tidemark", "udfs")
# What was said: what to say.
WORDS = {
    r"untold|telling|told": "published, sent, reported, pending",
    r"nudge[sd]?": "reevaluation request",
    r"courier": "delivery worker",
    r"desk": "alert router",
    r"(?<!zoo )keeper": "Redis sync",
    r"fate": "outcome",
    r"verdicts?": "outcome, result",
    r"standing": "status, active version, rank",
    r"held (?:back|against)": "suppressed, compared with",
    r"(?<!dead )(?<!dead-)letters?": "dead letter",
    r"(?<!there )(?-i:is none)": "is not valid, is missing",
    r"being away": "is down, cannot be reached",
}
# Letters of the alphabet.
ALLOWED = {r"(?<!dead )(?<!dead-)letters?": 9}


def texts() -> dict[str, str]:
    files = [path for top in TOPS for path in sorted((ROOT / top).rglob("*"))]
    files += [path for path in sorted(ROOT.glob("*.md")) if path.name != "CHANGELOG.md"]
    return {
        str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
        for path in files
        if path.suffix in SUFFIXES and path.is_file() and path != Path(__file__) and "__pycache__" not in path.parts
    }


def uses(word: str, text: str) -> int:
    # An identifier is its words: `told_at`, `_told`, `wasTold`.
    spread = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ")
    return len(re.findall(rf"\b(?:{word})\b", spread, re.IGNORECASE))


@pytest.fixture(scope="module")
def read() -> dict[str, str]:
    return texts()


@pytest.mark.parametrize("word", WORDS)
def test_no_word_of_our_own_is_used(word, read):
    found = {name: count for name, text in read.items() if (count := uses(word, text))}
    assert sum(found.values()) <= ALLOWED.get(word, 0), f"say instead: {WORDS[word]}; it is in {found}"


def test_a_use_in_a_name_is_seen():
    assert uses("told", "told_at = self._told; def wasTold(): ...") == 3
    assert uses(r"(?<!dead )(?<!dead-)letters?", "dead letters, dead_letter, DeadLetter, newsletter") == 0
