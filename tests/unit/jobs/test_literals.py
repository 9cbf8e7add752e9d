"""No setting ends a literal of the SQL that it stands in: its text is refused, or stays a text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import jobs
from jobs.flink.bounds import table_options
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings

ENDING = "a:1', 'properties.security.protocol' = 'PLAINTEXT"
TOPICS = {f"{name}_topic" for name in ("alerts", "deltas", "dlq", "events", "redrive", "reevaluations")}
# Names and numbers of `jobs.meter.warm_up`, which are no settings.
MADE_UP = {"tenant", "counted", "summed", "events"}


def test_a_quote_in_an_option_of_a_table_stays_part_of_its_value() -> None:
    assert table_options({"key": "a', 'b' = 'c"}) == "'key' = 'a'', ''b'' = ''c'"


@pytest.mark.parametrize(
    "changed", [{"topics": {"events": ENDING}}, {"kafka": {"bootstrap": ENDING}}, {"run_id": ENDING}], ids=str
)
def test_a_name_that_stands_in_a_literal_has_no_quote(changed: dict[str, object]) -> None:
    with pytest.raises((ValidationError, UsageError)):
        Settings.model_validate(changed)


def test_literals_are_filled_with_names_and_numbers_that_settings_check() -> None:
    """Whoever fills another value into a literal has to see that it holds no quote."""
    texts = [path.read_text("utf-8") for path in Path(jobs.__file__).parent.rglob("*.sql")]
    literals = [literal for text in texts for literal in re.findall(r"'[^'\n]*'", text)]
    filled = {name for literal in literals for name in re.findall(r"\$\{?(\w+)", literal)}
    assert filled == TOPICS | MADE_UP | {"topic", "source_topics", "group", "schema", "source_idle_s"}
