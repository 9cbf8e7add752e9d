"""A service of its own process that records: killed, forked, ended as services are. Argument: one JSON object."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from typing import Any

from tidemark_client import Client
from tidemark_client.events.http import HttpTransport
from tidemark_client.events.kafka import KafkaTransport
from tidemark_client.events.transport import Transport


def client(options: dict[str, Any]) -> Client:
    tenant = options.get("tenant", "acme")
    return Client(transport(options, tenant), tenant=tenant, spool=options["spool"], source="drill", exit_timeout_s=10)


def transport(options: dict[str, Any], tenant: str) -> Transport:
    if "bootstrap" in options:
        return KafkaTransport(options["bootstrap"], tenant, options["topic"], timeout_s=5.0)
    return HttpTransport(options["url"], options["key"], timeout_s=options.get("timeout_s", 10.0))


def say(*words: Any) -> None:
    # Whatever is printed has happened before.
    os.write(1, f"{json.dumps(words)}\n".encode())


def record_and_die(options: dict[str, Any]) -> None:
    """Durable events, said one by one, until the process kills itself."""
    made = client(options)
    for number in range(options["count"]):
        say(made.record("call", customer=f"c-{number % 7}", number=number, durable=True).id)
    os.kill(os.getpid(), signal.SIGKILL)


def record_until_killed(options: dict[str, Any]) -> None:
    """Events from several threads: the ids of a round are said before it, and again once they are on disk."""
    made = client(options)

    def rounds(thread: int) -> None:
        for turn in itertools.count():
            ids = [f"{os.getpid()}-{thread}-{turn}-{number}" for number in range(20)]
            say("try", *ids)
            for number, event_id in enumerate(ids):
                made.record("call", customer=f"c-{number % 7}", event_id=event_id, durable=number % 10 == 0)
            made.sync(60)
            say("done", *ids)
            time.sleep(options["pause_s"])

    threads = [threading.Thread(target=rounds, args=(number,)) for number in range(options["threads"])]
    for thread in threads:
        thread.start()


def record_and_end(options: dict[str, Any]) -> None:
    """Events in memory as the program ends."""
    made = client(options)
    say(*(made.record("call", customer="c").id for _ in range(options["count"])))


def record_and_fork(options: dict[str, Any]) -> None:
    """Events before a fork, on both sides of it, and in a worker of multiprocessing, which ends without `atexit`."""
    made = client(options)
    say(*(made.record("call", customer="parent").id for _ in range(50)))
    child = os.fork()
    if child == 0:
        say(*(made.record("call", customer="child").id for _ in range(50)))
        made.close()
        os._exit(0)
    worker = multiprocessing.get_context("fork").Process(target=_work, args=(made,))
    worker.start()
    say(*(made.record("call", customer="parent").id for _ in range(50)))
    worker.join()
    os.waitpid(child, 0)


def _work(made: Client) -> None:
    say(*(made.record("call", customer="worker").id for _ in range(50)))


if __name__ == "__main__":
    arguments = json.loads(sys.argv[1])
    globals()[arguments["do"]](arguments)
