"""Anomaly benchmark: precision and recall of the detectors over a year of real flights with faults from a seed.

    .venv/bin/python -m tests.bench.anomalies --seeds 101 102 103

Needs no services. Tenants are airports, customers are carriers. Faults are put into the minutes of events, so that all
meters of a tenant show them. What is real about the year stays: storms and holidays that alarm count as false. How many
of these are stops that the timetable proves is said beside.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from random import Random
from typing import NamedTuple

from tidemark.demo.flights import fetch_archive, read_flights, scheduled_ms
from udfs.anomaly.detector import replay, utc_offset_ms
from udfs.anomaly.series import Change, Minute, Series
from udfs.anomaly.tuning import DAY_MS, HOUR_MS, MINUTE_MS, Tuning

ZONE = "America/New_York"
METERS = ("flights", "miles", "air_minutes")
# The meters of one carrier go with one another, and there are 35 carriers at an airport: one meter is enough.
CUSTOMER_METERS = ("flights",)
YEAR_MS = tuple(int(datetime(year, 1, 1, 5, tzinfo=UTC).timestamp()) * 1_000 for year in (2013, 2014))
# Seasons are learned in three weeks; faults begin a week later.
FAULTS_FROM_MS = YEAR_MS[0] + 28 * DAY_MS
# Local hours in which a fault may begin: "daytime".
DAYTIME = (6, 20)
BETWEEN_DAYS = (2.5, 4.5)
SPIKE = 3.0
# Customers by their events an hour at the time of the fault: three times nearly nothing is no number to be seen.
BANDS = (5.0, 10.0, 20.0)
# An alert belongs to a fault when it fires while the fault is in the window.
AFTER_MS = HOUR_MS
DRIFT_DAYS, DRIFT_HOLD_DAYS, DRIFT_FACTORS = 28, 21, (1.6, 0.6)

Volumes = dict[int, list[int]]


class Fault(NamedTuple):
    """What is wrong with a tenant, or one customer of it, in [start_ms, end_ms): volume times `factor`."""

    kind: str
    tenant: str
    customer: str
    start_ms: int
    end_ms: int
    factor: float
    events_per_hour: float = 0.0


@dataclass(frozen=True, slots=True)
class Fired:
    """An alert that began; whether a fault explains it, and else whether the timetable does."""

    series: Series
    change: Change
    explained: bool
    real: bool = False


@cache
def flights() -> dict[tuple[str, str], dict[int, list[int]]]:
    """Flights, miles and minutes in the air by (airport, carrier) and minute of departure (epoch ms)."""
    found: dict[tuple[str, str], Volumes] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    for flight in read_flights(fetch_archive()):
        if flight["dep_time"]:
            at_ms = scheduled_ms(flight) + int(float(flight["dep_delay"])) * MINUTE_MS
            sums = found[flight["origin"], flight["carrier"]][at_ms]
            for index, value in enumerate((1, int(flight["distance"]), int(float(flight["air_time"] or 0)))):
                sums[index] += value
    return {key: dict(minutes) for key, minutes in found.items()}


@cache
def timetable() -> dict[str, tuple[list[int], list[int]]]:
    """Scheduled departures, cancelled ones too, and real ones, by airport, epoch ms in order."""
    found: dict[str, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
    for flight in read_flights(fetch_archive()):
        at_ms = scheduled_ms(flight)
        found[flight["origin"]][0].append(at_ms)
        if flight["dep_time"]:
            found[flight["origin"]][1].append(at_ms + int(float(flight["dep_delay"])) * MINUTE_MS)
    return {airport: (sorted(scheduled), sorted(real)) for airport, (scheduled, real) in found.items()}


def really_stopped(series: Series, change: Change) -> bool:
    """Whether less than half of the flights that were scheduled for the window left in it: a stop, not a holiday."""
    if change.kind not in {"drop", "missing"}:
        return False
    scheduled, left = (
        bisect_left(times, change.at_ms) - bisect_left(times, change.at_ms - change.window_ms)
        for times in timetable()[series.tenant_id]
    )
    return left * 2 < scheduled


def factor_at(faults: Iterable[Fault], at_ms: int) -> float:
    """What the volume is multiplied by."""
    factor = 1.0
    for fault in faults:
        if not fault.start_ms <= at_ms < fault.end_ms:
            continue
        grown = min(1.0, (at_ms - fault.start_ms) / (DRIFT_DAYS * DAY_MS)) if fault.kind == "drift" else 1.0
        factor *= 1 + (fault.factor - 1) * grown
    return factor


def minutes_of(tenant: str, customer: str, faults: Sequence[Fault]) -> Volumes:
    """Minutes of one customer with the faults in them; amounts in thousandths are rounded to whole numbers."""
    mine = [fault for fault in faults if fault.tenant == tenant and fault.customer in {"", customer}]
    made: Volumes = {}
    for at_ms, sums in flights()[tenant, customer].items():
        factor = factor_at([fault for fault in mine if fault.start_ms <= at_ms < fault.end_ms], at_ms)
        if factor == 1:
            made[at_ms] = sums
        elif factor:
            # A minute holds few flights: the fraction of one is a matter of chance, the same for the same minute.
            chance = Random(f"{tenant}{customer}{at_ms}").random()
            times = int(factor) + (chance < factor % 1)
            if times:
                made[at_ms] = [value * times for value in sums]
    return made


def series_minutes(faults: Sequence[Fault], *, customers: bool) -> Iterator[tuple[Series, list[Minute]]]:
    """Every series that the job would watch, with its minutes in order."""
    tenants: dict[str, Volumes] = defaultdict(lambda: defaultdict(lambda: [0, 0, 0]))
    for tenant, customer in sorted(flights()):
        minutes = minutes_of(tenant, customer, faults)
        for at_ms, sums in minutes.items():
            tenants[tenant][at_ms] = [a + b for a, b in zip(tenants[tenant][at_ms], sums, strict=True)]
        if customers:
            yield from (_one(Series("customer", tenant, customer, meter), minutes) for meter in CUSTOMER_METERS)
    for tenant, minutes in sorted(tenants.items()):
        yield from (_one(Series("meter", tenant, "", meter), minutes) for meter in METERS)


def _one(series: Series, minutes: Volumes) -> tuple[Series, list[Minute]]:
    index = METERS.index(series.meter)
    return series, [Minute(at_ms, minutes[at_ms][0], Decimal(minutes[at_ms][index])) for at_ms in sorted(minutes)]


@cache
def usual() -> Mapping[tuple[str, str, int], float]:
    """Events an hour by tenant, customer and local hour of the week, over the year."""
    found: dict[tuple[str, str, int], float] = defaultdict(float)
    for (tenant, customer), minutes in flights().items():
        for at_ms, sums in minutes.items():
            found[tenant, customer, _local_hour(at_ms) % 168] += sums[0] / 52
    return found


def _local_hour(at_ms: int) -> int:
    return (at_ms + utc_offset_ms(ZONE, at_ms // HOUR_MS)) // HOUR_MS


def sudden_faults(seed: int) -> list[Fault]:
    """Spikes and drops of whole tenants in turn, and spikes of customers, each 1 to 3 hours, in daytime."""
    rng = Random(seed)
    faults: list[Fault] = []
    for tenant in sorted({tenant for tenant, _ in flights()}):
        at_ms = float(FAULTS_FROM_MS)
        index = rng.randrange(3)
        while (at_ms := at_ms + rng.uniform(*BETWEEN_DAYS) * DAY_MS) < YEAR_MS[1] - 2 * DAY_MS:
            day_ms = int(at_ms) // DAY_MS * DAY_MS
            local_ms = day_ms + rng.randrange(DAYTIME[0] * 60, DAYTIME[1] * 60) * MINUTE_MS
            start_ms = local_ms - utc_offset_ms(ZONE, local_ms // HOUR_MS)
            end_ms = start_ms + rng.randrange(60, 181) * MINUTE_MS
            index += 1
            if index % 3 == 2:
                faults += _customer_fault(rng, tenant, start_ms, end_ms)
            else:
                faults.append(
                    Fault("drop" if index % 3 else "spike", tenant, "", start_ms, end_ms, 3.0 * (index % 3 == 0))
                )
    return faults


def _customer_fault(rng: Random, tenant: str, start_ms: int, end_ms: int) -> list[Fault]:
    """A spike of a customer that has events at that time, whatever its size."""
    rates = {
        customer: sum(usual().get((tenant, customer, hour % 168), 0.0) for hour in hours) / len(hours)
        for of, customer in flights()
        if of == tenant
        for hours in [range(_local_hour(start_ms), _local_hour(end_ms - 1) + 1)]
    }
    busy = sorted(customer for customer, rate in rates.items() if rate >= BANDS[0])
    if not busy:
        return []
    customer = rng.choice(busy)
    return [Fault("customer_spike", tenant, customer, start_ms, end_ms, SPIKE, rates[customer])]


def drift_faults(seed: int) -> list[Fault]:
    """One slow drift of each tenant: up to 1.6 or down to 0.6 in four weeks, held for three."""
    rng = Random(seed)
    faults = []
    for tenant in sorted({tenant for tenant, _ in flights()}):
        start_ms = YEAR_MS[0] + rng.randrange(70, 290) * DAY_MS
        end_ms = start_ms + (DRIFT_DAYS + DRIFT_HOLD_DAYS) * DAY_MS
        faults.append(Fault("drift", tenant, "", start_ms, end_ms, rng.choice(DRIFT_FACTORS)))
    return faults


def explains(fault: Fault, series: Series, change: Change) -> bool:
    """Whether an alert is about this fault: a series that it touches, the right direction, and the right time."""
    elsewhere = series.kind == "customer" and fault.customer not in {"", series.customer_id}
    if fault.tenant != series.tenant_id or elsewhere:
        return False
    after_ms = 35 * DAY_MS if fault.kind == "drift" else AFTER_MS
    if not fault.start_ms <= change.at_ms <= fault.end_ms + after_ms:
        return False
    if fault.kind == "drift":
        return True
    return (change.kind in {"drop", "missing"}) == (fault.kind == "drop")


def found(fault: Fault, series: Series, fired: Iterable[Fired]) -> bool:
    """Whether a series said so, by the right kind."""
    kinds = {"drop", "missing"} if fault.kind == "drop" else {fault.kind}
    return any(
        item.series == series and item.change.kind in kinds and explains(fault, series, item.change) for item in fired
    )


def touched(fault: Fault) -> list[Series]:
    """The series that must tell of a fault."""
    if fault.customer:
        return [Series("customer", fault.tenant, fault.customer, meter) for meter in CUSTOMER_METERS]
    return [Series("meter", fault.tenant, "", meter) for meter in METERS]


def _watch(job: tuple[Series, list[Minute]]) -> tuple[Series, list[Change]]:
    return job[0], replay(job[0], job[1], YEAR_MS[1], Tuning(), ZONE)


def watch(faults: Sequence[Fault], *, customers: bool) -> list[Fired]:
    """All alerts that begin in the year."""
    jobs = list(series_minutes(faults, customers=customers))
    with ProcessPoolExecutor() as pool:
        results = list(pool.map(_watch, jobs, chunksize=4))
    return [
        Fired(series, change, any(explains(fault, series, change) for fault in faults), really_stopped(series, change))
        for series, changes in results
        for change in changes
        if change.status == "firing"
    ]


def recalls(faults: Sequence[Fault], fired: Sequence[Fired]) -> dict[str, list[int]]:
    """Found and all, by kind of fault; customers by band of their usual events an hour."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for fault in faults:
        name = fault.kind
        if fault.customer:
            name += f" >= {max(band for band in BANDS if band <= fault.events_per_hour):g}/h"
        for series in touched(fault):
            counts[name][0] += found(fault, series, fired)
            counts[name][1] += 1
    return counts


def precisions(fired: Sequence[Fired]) -> dict[str, list[int]]:
    """Explained and all, by kind of alert; drop and missing are one, as they tell of one kind of fault."""
    counts: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for item in fired:
        kind = "drop" if item.change.kind == "missing" else item.change.kind
        counts[kind][0] += item.explained
        counts[kind][1] += 1
        if kind == "drop":
            counts["drop, real stops are true"][0] += item.explained or item.real
            counts["drop, real stops are true"][1] += 1
    return counts


def _add(into: dict[str, list[int]], counts: Mapping[str, Sequence[int]]) -> None:
    for name, (hits, of) in counts.items():
        into[name] = [into.get(name, [0, 0])[0] + hits, into.get(name, [0, 0])[1] + of]


def _rates(counts: Mapping[str, Sequence[int]]) -> dict[str, object]:
    return {
        name: {"of": of, "rate": round(hits / of, 3) if of else None} for name, (hits, of) in sorted(counts.items())
    }


def evaluate(seeds: Sequence[int], *, customers: bool = True, false_to: Path | None = None) -> dict[str, object]:
    """Recall and precision over all seeds, and the false alerts a day."""
    recall: dict[str, list[int]] = {}
    precision: dict[str, list[int]] = {}
    false: list[Fired] = []
    days = (YEAR_MS[1] - YEAR_MS[0]) / DAY_MS
    for seed in seeds:
        for faults, with_customers in ((sudden_faults(seed), customers), (drift_faults(seed), False)):
            fired = watch(faults, customers=with_customers)
            drifting = any(fault.kind == "drift" for fault in faults)
            # A drift is judged by itself: what else it sets off is not what the other run measures.
            counted = [item for item in fired if (item.change.kind == "drift") == drifting]
            _add(recall, recalls(faults, fired))
            _add(precision, precisions(counted))
            false += [item for item in counted if not item.explained]
    if false_to is not None:
        _write(false_to, false)
    return {
        "seeds": list(seeds),
        "recall": _rates(recall),
        "precision": _rates(precision),
        "false_a_day": round(len(false) / days / len(seeds), 3),
        "false_by_kind": Counter(item.change.kind for item in false),
    }


def clean(*, customers: bool = True, false_to: Path | None = None) -> dict[str, object]:
    """Alerts of the year as it was: all of them count as false."""
    fired = watch([], customers=customers)
    if false_to is not None:
        _write(false_to, fired)
    days = (YEAR_MS[1] - YEAR_MS[0]) / DAY_MS
    by_day = Counter((_local_hour(item.change.at_ms) // 24) for item in fired)
    return {
        "alerts_a_day": round(len(fired) / days, 3),
        "real_stops": sum(item.real for item in fired),
        "days_with_alerts": len(by_day),
        "most_on_a_day": max(by_day.values(), default=0),
        "by_kind": Counter(item.change.kind for item in fired),
    }


def _write(path: Path, fired: Iterable[Fired]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        for item in sorted(fired, key=lambda each: each.change.at_ms):
            local = datetime.fromtimestamp(
                (item.change.at_ms + utc_offset_ms(ZONE, item.change.at_ms // HOUR_MS)) / 1_000, UTC
            )
            rows.writerow(
                [
                    local.strftime("%Y-%m-%d %H:%M"),
                    *item.series,
                    *map(str, item.change[:1] + item.change[4:8]),
                    item.real,
                ]
            )


def main(argv: Sequence[str] | None = None) -> None:
    """Print one JSON line: the year as it was, and with faults."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102])
    parser.add_argument("--no-customers", action="store_true", help="tenants only: a fifth of the time")
    parser.add_argument("--false-to", type=Path, help="CSV of the false alerts, beside one of the year as it was")
    arguments = parser.parse_args(argv)
    customers = not arguments.no_customers
    clean_to = arguments.false_to.with_suffix(".clean.csv") if arguments.false_to else None
    figures = {
        "clean": clean(customers=customers, false_to=clean_to),
        "faults": evaluate(arguments.seeds, customers=customers, false_to=arguments.false_to),
    }
    sys.stdout.write(json.dumps(figures) + "\n")


if __name__ == "__main__":
    main()
