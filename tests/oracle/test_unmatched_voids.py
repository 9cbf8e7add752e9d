"""Voids that match no counted event: by hand, and as the model finds them in a stream."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from tests.oracle.support import catalog_of, event, oracle_of, void
from tests.streams import HISTORY, generate
from tests.unit.catalogs import source_of_history
from tests.unit.dry_run.models import POLICY
from tidemark.core.names import Names
from tidemark.dry_run.model import Model
from tidemark.oracle.oracle import Oracle
from tidemark.reconcile import voids
from tidemark.reconcile.findings import Outcome
from tidemark.reconcile.sample import Wanted


def unmatched(outcome: Outcome) -> list[tuple[str, str, str | None]]:
    return [(finding.subject["event_id"], finding.subject["voids"], finding.actual) for finding in outcome.noted]


def check(oracle: Oracle, wanted: Wanted = Wanted(), *, whole: bool = True) -> Outcome:  # noqa: B008 - frozen
    return voids.check(oracle, Names(), wanted, whole=whole)


SENT = [
    event("1", quantity="5"), event("2", quantity="5"), event("3", "no time", quantity="5"),
    void("1", quantity="5"),
    # Of copies the first counts.
    void("1", quantity="6"),
    void("2", quantity="6"),
    void("3", quantity="5"),
    void("never", quantity="1"),
    void("void of 1", quantity="5"),
]  # fmt: skip


def test_a_void_of_a_void_of_nothing_and_of_other_values_are_distinguished() -> None:
    with oracle_of(catalog_of(m={"aggregation": "sum"}), *SENT) as oracle:
        outcome = check(oracle)
        assert (outcome.compared, outcome.differing) == (5, 0)
        assert sorted(unmatched(outcome)) == [
            ("void of 2", "2", "other_values"),
            ("void of 3", "3", "no_original"),
            ("void of never", "never", "no_original"),
            ("void of void of 1", "void of 1", "void_of_a_void"),
        ]
        assert outcome.notes == ["4 match no counted event: see report.unmatched_void"]


def test_what_cannot_be_known_is_not_said() -> None:
    with oracle_of(catalog_of(m={"aggregation": "sum"}), *SENT) as oracle:
        # The original may have been there, before the first record that the topic still holds.
        assert {why for *_, why in unmatched(check(oracle, whole=False))} == {"other_values", "void_of_a_void"}
        assert check(oracle, Wanted(share=Decimal("0.5"))).not_checked


def test_model_and_recomputation_find_the_same() -> None:
    records = generate(4_000, seed=5)
    model = Model(source_of_history(HISTORY), POLICY)
    arrivals, partitions = [r.timestamp_ms for r in records], [r.partition for r in records]
    model.feed([r.value for r in records], arrivals, partitions, range(len(records)))
    offsets: Counter[int] = Counter()
    raw = []
    for record in records:
        raw.append((record.partition, offsets[record.partition], record.timestamp_ms, record.value))
        offsets[record.partition] += 1
    with Oracle(HISTORY, raw) as oracle:
        outcome = check(oracle)
    report = model.voids()
    assert outcome.compared == report.applied
    expected = [(void.tenant, void.customer, void.voids, void.why) for void in report.unmatched]
    names = ("tenant_id", "customer_id", "voids")
    assert sorted((*(void.subject[name] for name in names), void.actual) for void in outcome.noted) == sorted(expected)
    assert {why for *_, why in expected} >= {"no_original", "other_values"}
