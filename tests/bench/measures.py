"""Everything that is measured: a section of docs/benchmarks.md each, with its targets."""

from __future__ import annotations

from tests.bench.questions import QUESTIONS
from tests.bench.report.measure import Measure
from tests.bench.report.targets import Target
from tests.bench.runs.http_events import FAST, OPEN

# Why targets were missed, as far as it is known.
GENERATED = "a warm-up cannot compile the code that Flink generates for each job, and a backlog has longer ticks"
CHECKPOINT = "an alert is visible with the next checkpoint, of which there is one a second"
HAND_OVER = (
    "Python, and the flush and compaction of more state than plain SQL has (CPU by threads); and with bundles of 10 ms"
    " the source waits for Python: profile for throughput"
)
SPARSE = "events of 10 000 customers, spread over an hour, leave little to sum up"
MINIBATCH = "`rollup` collects for 2 s before it writes (`rollup.minibatch_ms`), once `meter` has committed"
SAME_PLAN = "a replay runs the operators of the live job, at their speed"
FEWER_SUMS = "of 100 000 customers a tick has hardly two events of one, so there is a delta for nearly each event"
STILL_COLD = "20 s after its start the JVM still compiles: the later stage of twice the rate is faster"
STANDS_STILL = (
    "once a second each stateful task stands still while RocksDB flushes its state (`sync` of Flink's checkpoints),"
    " even into memory"
)
MANY_ROWS = (
    "`rollup` writes four grains and sliding windows of each delta, and a second holds few events of one customer"
)
FOUR_GRAINS = "`meter` alone takes most of it, and `rollup` writes four grains of each delta"
FEW_MINUTES = "a backlog of a minute has as many rows of hours, days and periods as of minutes"
METER, PLAIN, OURS = "meter", "plain Flink SQL", "meter + rollup"
THROUGHPUT = "meter, profile throughput"
OURS_THROUGHPUT = f"{OURS}, profile throughput, no windows of customers"
RATIO = f"{METER} to {PLAIN}"


def to_rows(why_slow: str, why_stored: str) -> tuple[Target, ...]:
    """Targets of the way to rows, at whatever rate the stream had; with why pace and storage missed them."""
    return (
        Target(OURS, "events_per_s", at_least=50_000, why_missed=why_slow),
        Target(OURS, "own_cpu_us", at_most=25, why_missed=why_slow),
        Target(f"{OURS} to quixstreams", "ratio", at_least=1.6, why_missed=why_slow),
        Target(f"{OURS} to bytewax", "ratio", at_least=0.6, why_missed=why_slow),
        Target(f"{OURS} to SET NX + insert (OpenMeter's shape)", "ratio", at_least=1.0, why_missed=why_slow),
        Target(f"{OURS} to events table (Lago's shape)", "ratio", at_least=0.5, why_missed=why_slow),
        Target(f"{OURS}, storage", "rows_per_event", at_most=0.05, why_missed=why_stored),
        Target(f"{OURS}, storage", "wal_bytes", at_most=40, why_missed=why_stored),
    )


MEASURES = (
    Measure(
        "drain_keyed", "Drain of `meter`, keyed by customer",
        (
            Target(RATIO, "ratio", at_least=0.6, why_missed=HAND_OVER),
            Target(METER, "events_per_s", at_least=70_000, why_missed=HAND_OVER),
            Target(METER, "own_cpu_us", at_most=14, why_missed=HAND_OVER),
        ),
        plot="events_per_s",
    ),
    Measure("cpu_processes", "CPU by process"),
    Measure("cpu_threads", "CPU by threads of the TaskManager"),
    Measure("drain_round_robin", "Drain of `meter`, round robin", plot="events_per_s"),
    Measure("decode", "Decoding alone"),
    Measure(
        "live", "Event to Redis",
        (
            Target("5 000/s", "p99_ms", at_most=300, why_missed=STILL_COLD),
            Target("5 000/s, warm", "p99_ms", at_most=300, why_missed=STANDS_STILL),
            Target("1 000/s", "p99_ms", at_most=160, why_missed=STANDS_STILL),
            Target("5 000/s, first 10 s", "p99_ms", at_most=1_000, why_missed=GENERATED),
        ),
    ),
    Measure("live_cold", "Event to Redis, without a warm-up"),
    Measure(
        "limits", "Cap crossed to the alert",
        (Target("5 000/s: alert", "p99_ms", at_most=1_000, why_missed=CHECKPOINT),),
    ),
    Measure("contest", "To rows: contestants", to_rows(MANY_ROWS, SPARSE), plot="events_per_s"),
    Measure("contest_dense", "To rows, events of 20 000/s", to_rows(FOUR_GRAINS, FEW_MINUTES), plot="events_per_s"),
    Measure("contest_kill", "To rows, after a kill -9"),
    Measure("storage", "What is stored"),
    Measure("minute_row", "Event to minute row", (Target("2 000/s", "p99_ms", at_most=5_000, why_missed=MINIBATCH),)),
    Measure(
        "sustained", "The whole stack, sustained", (Target("read in the second half", "events_per_s", at_least=20_000),)
    ),
    Measure("memory_rest", "Memory at rest", (Target("all, at rest", "gib", at_most=4),)),
    Measure("memory_load", "Memory under load", (Target("all, under load", "gib", at_most=8),)),
    Measure(
        "customers", "Many customers, and a hot one",
        (
            Target("CPU, 100 000 to 100 customers", "ratio", at_most=1.25, why_missed=FEWER_SUMS),
            Target("throughput, hot to even", "ratio", at_least=0.8),
        ),
    ),
    Measure("replay", "Replay against live", (Target("replay to live", "ratio", at_least=2, why_missed=SAME_PLAN),)),
    Measure("sdk", "A check by the SDK"),
    Measure(
        "http", "Events over HTTP",
        (Target(OPEN, "p99_ms", at_most=100), Target(FAST, "core_events_per_s", at_least=10_000)),
    ),
    Measure("linear", "CPU at two sizes", (Target("CPU", "slope", at_least=0.95, at_most=1.05),)),
    Measure(
        "ids", "Dedupe keys",
        (
            Target("10 000 000 ids", "state_bytes", at_most=40, full_only=True),
            Target("10 000 000 ids", "p99_ms", at_most=2_000, full_only=True),
        ),
    ),
    Measure(
        "dashboards", "Dashboards over a year",
        tuple(Target(name, "p95_ms", at_most=50) for name in QUESTIONS),
    ),
    Measure("headers", "Kafka headers"),
    Measure("installation", "A large installation"),
)  # fmt: skip
BY_NAME = {measure.name: measure for measure in MEASURES}
