"""Three events of now, as lines for `tidemark send`; the second is sent twice and counts once."""

import json
from datetime import UTC, datetime

now = datetime.now(UTC).isoformat()
for event_id, model, tokens in (("e-1", "large", 1_520), ("e-2", "small", 310), ("e-2", "small", 310)):
    event = {
        "event_id": event_id, "tenant_id": "acme", "customer_id": "c-7", "event_type": "completion",
        "timestamp": now, "quantity": tokens, "properties": {"model": model},
    }  # fmt: skip
    print(json.dumps(event))  # noqa: T201  a script
