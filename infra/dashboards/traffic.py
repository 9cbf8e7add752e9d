"""`python -m infra.dashboards.traffic`: flights that land now, one a line, for `tidemark send -` on the demo's stack.

Most are good; some come twice, some are older than grace, some have no time: what dashboards show of them is there too.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from tidemark.core.terminal import put

# As in tidemark/demo/catalog.yaml.
AIRPORTS = ("EWR", "JFK", "LGA")
CARRIERS = ("AA", "B6", "DL", "UA", "WN")
DESTINATIONS = ("ATL", "BOS", "LAX", "ORD", "SFO")
GRACE = timedelta(hours=48)
A_SECOND = 20


def flights(rng: random.Random, now: datetime) -> Iterator[str]:
    """One landing, and now and then what else producers send."""
    # Another one in each run: an event that comes again is a copy.
    number = rng.randrange(10**12)
    event = {
        "event_id": f"live-{number}",
        "tenant_id": rng.choice(AIRPORTS),
        "customer_id": rng.choice(CARRIERS),
        "event_type": "flight",
        "timestamp": (now - timedelta(seconds=rng.randrange(300))).isoformat(timespec="milliseconds"),
        "quantity": rng.randrange(200, 2_600),
        "properties": {
            "dest": rng.choice(DESTINATIONS), "tailnum": f"N{number % 500:03}", "dep_delay": rng.randrange(-10, 90),
            "air_time": rng.randrange(30, 330),
        },
    }  # fmt: skip
    line = json.dumps(event)
    yield line
    kind = rng.random()
    if kind < 0.02:  # noqa: PLR2004
        yield line
    elif kind < 0.04:  # noqa: PLR2004
        yield json.dumps({**event, "event_id": f"late-{number}", "timestamp": (now - 2 * GRACE).isoformat()})
    elif kind < 0.05:  # noqa: PLR2004
        yield json.dumps({**event, "event_id": f"bad-{number}", "timestamp": None})


def main() -> None:
    """Write lines as they become due, until nobody reads them."""
    rng = random.Random()  # noqa: S311  traffic to look at, not a secret
    while True:
        for line in flights(rng, datetime.now(UTC)):
            put(line)
        time.sleep(1 / A_SECOND)


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        main()
