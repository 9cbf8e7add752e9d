"""A service that records what its customers use; the catalog beside it measures it.

USAGE_URL, USAGE_KEY and USAGE_SPOOL say where to, with which key, and where events wait on their way.
"""

import os

from tidemark_client import Client

client = Client(
    os.environ["USAGE_URL"],
    api_key=os.environ["USAGE_KEY"],
    tenant="acme",
    spool=os.environ["USAGE_SPOOL"],
    source="first-meter",
)


def complete(customer: str, model: str, prompt: str) -> str:
    """Answer a prompt, and record how many tokens that took."""
    answer = prompt.upper()
    client.record("completion", customer=customer, quantity=len(prompt.split()) + len(answer.split()), model=model)
    return answer


if __name__ == "__main__":
    complete("c-7", "large", "how many words have I used")
    complete("c-7", "small", "and now")
    # A service that goes on needs no flush: a second later the events are sent.
    if not client.flush(timeout_s=10):
        raise SystemExit(f"not sent yet, and kept in {os.environ['USAGE_SPOOL']}: {client.stats().error}")
    for event in client.rejected():
        print(f"{event.id} was rejected, {event.reason}: {event.detail}")  # noqa: T201  a script
