"""What quickstart measures first: every template and every answer is a catalog, whose event it counts as promised."""

from __future__ import annotations

import json
import os
import pty
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from tidemark.catalog import file as catalog_file
from tidemark.cli import quickstart_plans as plans
from tidemark.core.errors import UsageError

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
ANSWERED = {
    f"{how}{by and ' by ' + by}": plans.answered("a.b", how, by) for how in plans.AGGREGATIONS for by in ("", "m")
}


@pytest.mark.parametrize("plan", [*plans.TEMPLATES.values(), *ANSWERED.values()], ids=[*plans.TEMPLATES, *ANSWERED])
def test_every_plan_is_a_catalog_file_with_its_meter_and_customer(tmp_path, plan):
    file = tmp_path / "quickstart.yaml"
    file.write_text(plans.catalog_text(plan, "acme", "o'c 7"), encoding="utf-8")
    tenant = catalog_file.read(file).content["tenants"]["acme"]
    assert plan.event_type in tenant["meters"][plan.meter]["event_types"]
    assert list(tenant["customers"]) == ["o'c 7"]


@pytest.mark.parametrize(
    ("aggregation", "meter", "quantity"),
    [("count", "gpu_job_count", 1), ("sum", "gpu_job_total", 12), ("max", "gpu_job_peak", 12)],
)
def test_three_answers_name_a_meter_by_the_event_and_what_adds_up(aggregation, meter, quantity):
    plan = plans.answered("gpu.job", aggregation, "zone")
    assert (plan.meter, plan.quantity) == (meter, quantity)
    assert plan.meters[meter]["group_by"] == list(plan.properties) == ["zone"]


def test_the_curl_is_words_of_a_shell_whatever_is_in_the_event():
    plan = plans.template("ai-tokens")
    words = shlex.split(plans.curl("http://127.0.0.1:1", "tmk_k", plans.event(plan, 'o\'c "7"', "e-1", AT)))
    body = json.loads(words[words.index("-d") + 1])
    assert (body["customer_id"], body["timestamp"], Decimal(body["quantity"])) == (
        'o\'c "7"',
        "2026-03-01T12:00:00Z",
        1_520,
    )
    assert "Authorization: Bearer tmk_k" in words


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: plans.template("seats"), "there is no template 'seats'"),
        (lambda: plans.answered("call", "median", ""), "'median' is no way to add up"),
        (lambda: plans.answered("…", "sum", ""), "has neither a letter nor a digit"),
    ],
)
def test_what_is_not_offered_is_named_with_what_is(made, said):
    with pytest.raises(UsageError, match=said) as refused:
        made()
    assert refused.value.fix


def test_three_questions_are_asked_at_a_terminal_and_an_empty_answer_is_what_is_offered():
    code = "from tidemark.cli import quickstart as q; p = q._asked(None, None, None); print(p.meter, *p.properties)"
    keyboard, terminal = pty.openpty()
    try:
        with subprocess.Popen([sys.executable, "-c", code], stdin=terminal, stdout=-1, stderr=-1, text=True) as asked:
            os.write(keyboard, b"upload\n\nregion\n")
            printed, questions = asked.communicate(timeout=60)
    finally:
        os.close(keyboard)
        os.close(terminal)
    assert printed.split() == ["upload_total", "region"], questions
    assert [number for number in ("1. ", "2. ", "3. ") if number not in questions] == []
