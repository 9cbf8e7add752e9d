"""The endpoint of `tidemark serve`: what it answers, how figures are named, and what listens where."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from tidemark.alerts.intake import Batch
from tidemark.billing.close import Closed
from tidemark.billing.lines import PeriodKey
from tidemark.billing.refusals import Refusal
from tidemark.core.errors import UnavailableError
from tidemark.core.service import Health, Service, Stateless, logger
from tidemark.core.settings import Settings, load
from tidemark.latency.sample import Delta, Key, Sample
from tidemark.latency.sampler import Sampled
from tidemark.serve import backlog
from tidemark.serve.figures import FAMILIES, Figures
from tidemark.serve.http import HANGING_S, PROCESS, Endpoint, Listener
from tidemark.serve.observed import OBSERVED
from tidemark.serve.process import Process
from udfs.values import instant

NOW = 5_000.0
LIVE, STORED = "tidemark_live_latency_seconds", "tidemark_stored_latency_seconds"
GOOD = Health("live", "counters", "running", succeeded_at=NOW - 2, duration_s=0.25, runs=7, failures=1, every_s=5.0)
STANDBY = Health("quotas", "quotas", "standby", error="another `quotas` of usage is at work.")
BAD = Health("close", "close", "failing", failures=4, failures_in_row=2, error="Postgres at db cannot be used")
OWN = Health(PROCESS, "backlog", "failing", failures=1, failures_in_row=1, error="Kafka is down")


class Served:
    """An endpoint over services that a test sets, listening on a free port."""

    def __init__(self) -> None:
        self.services = [GOOD]
        self.unchecked_s = 1.0
        self.figures = Figures()
        app = Endpoint(lambda: self.services, lambda: self.unchecked_s, self.figures, ("1.2", "r"), lambda: NOW)
        self.listener = Listener(("127.0.0.1", 0), app)

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://{self.listener.address}{path}", timeout=10)

    def sample(self, name: str, **labels: str) -> float:
        families = text_string_to_metric_families(self.get("/metrics").text)
        (value,) = [one.value for family in families for one in family.samples
                    if one.name == name and one.labels.items() >= labels.items()]  # fmt: skip
        return value


@pytest.fixture
def served() -> Iterator[Served]:
    made = Served()
    yield made
    made.listener.close()


def test_readyz_is_200_when_all_roles_are_ready_a_standby_too(served: Served) -> None:
    served.services = [GOOD, STANDBY, OWN]
    answer = served.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["roles"] == {
        "live": {"ready": True, "state": "running", "reason": ""},
        "quotas": {"ready": True, "state": "standby", "reason": "another `quotas` of usage is at work."},
    }


def test_readyz_is_503_with_the_reason_and_each_role_can_be_asked_alone(served: Served) -> None:
    served.services = [GOOD, BAD]
    answer = served.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert answer.json()["roles"]["close"]["reason"] == "failed 2 times in a row: Postgres at db cannot be used"
    assert served.get("/readyz/live").status_code == 200
    assert served.get("/readyz/close").status_code == 503
    unknown = served.get("/readyz/archive")
    assert (unknown.status_code, unknown.json()["roles"]) == (404, ["live", "close"])


def test_healthz_says_whether_the_process_hangs_not_whether_roles_do_well(served: Served) -> None:
    served.services = [BAD]
    assert served.get("/healthz").status_code == 200
    served.unchecked_s = HANGING_S
    assert served.get("/healthz").status_code == 503


def test_what_is_not_there_and_what_is_no_get_is_refused(served: Served) -> None:
    assert served.get("/").status_code == 404
    assert requests.post(f"http://{served.listener.address}/metrics", timeout=10).status_code == 405


def test_a_fault_of_an_answer_is_a_line_of_the_log_and_ends_nothing(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    served.figures.put("tidemark_outbox_pending", {("closes",): "three"})  # type: ignore[dict-item]
    assert served.get("/metrics").status_code == 500
    (line,) = [one for one in map(json.loads, capsys.readouterr().err.splitlines()) if one["event"] == "failed"]
    assert (line["component"], line["level"], line["path"]) == ("http", "error", "/metrics")
    assert served.get("/healthz").status_code == 200


def test_a_client_that_goes_away_leaves_nothing_in_the_log(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    host, _, port = served.listener.address.rpartition(":")
    for _ in range(3):
        with socket.create_connection((host, int(port))) as gone:
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            gone.sendall(b"GET /metrics HTTP/1.1\r\n\r\n")
    assert served.get("/healthz").status_code == 200
    assert requests.head(f"http://{served.listener.address}/readyz", timeout=10).content == b""
    assert [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] in ([], ["listening"])


def test_metrics_show_each_service_and_what_waits_for_it(served: Served) -> None:
    served.services = [GOOD, BAD]
    served.figures.put("tidemark_outbox_pending", {("closes",): 3, ("corrections",): 0})
    live = {"role": "live", "service": "counters"}
    assert served.sample("tidemark_service_runs_total", **live) == 7
    assert served.sample("tidemark_service_failures_total", role="close") == 4
    assert served.sample("tidemark_service_last_success_timestamp_seconds", **live) == NOW - 2
    assert served.sample("tidemark_service_last_duration_seconds", **live) == 0.25
    assert served.sample("tidemark_service_state", **live, state="running") == 1
    assert served.sample("tidemark_service_state", **live, state="failing") == 0
    assert served.sample("tidemark_role_ready", role="close") == 0
    assert served.sample("tidemark_outbox_pending", topic="closes") == 3
    assert served.sample("tidemark_info", version="1.2", run_id="r") == 1
    served.figures.drop("tidemark_outbox_pending")
    assert "tidemark_outbox_pending" not in served.get("/metrics").text


def test_no_figure_has_a_label_that_grows_with_customers() -> None:
    labels = {label for family in FAMILIES for label in family.labels}
    assert labels.isdisjoint({"tenant_id", "customer", "customer_id", "meter"})
    assert {family.name for family in FAMILIES if "tenant" in family.labels} == {LIVE, STORED}
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        assert re.fullmatch(r"tidemark_[a-z_]+", family.name)
        assert not family.name.endswith("_total")


def sampled(*tenants: str) -> Sampled:
    keys = [Key(tenant, f"customer of {tenant}", "calls") for tenant in tenants]
    deltas = [Delta(key, "", 0, 0, 7, 1_900, "usage.events", 0, 3) for key in keys]
    samples = [Sample(delta, event_ms=1_000, arrived_ms=1_500, live_ms=2_000) for delta in deltas]
    return Sampled(samples, [one.stored(9_000) for one in samples])


def test_a_tenant_has_a_name_only_where_the_setting_names_it_and_a_customer_never(served: Served) -> None:
    settings = Settings().with_changes({"serve.tenants": ("acme",)})
    process = Process(settings, {}, threading.Event())
    process._sampled(sampled("acme", "b", "c"))
    served.figures._histograms = process._figures.histograms()
    assert served.sample(f"{LIVE}_count", tenant="acme", since="arrival") == 1
    assert served.sample(f"{LIVE}_count", tenant="", since="arrival") == 2
    text = served.get("/metrics").text
    assert 'tenant="b"' not in text
    assert "customer" not in text
    bare = Process(Settings(), {}, threading.Event())
    bare._sampled(sampled("acme", "b"))
    assert {labels for one in bare._figures.histograms().values() for labels in one} == {("event", ""), ("arrival", "")}


def test_a_latency_is_in_the_bucket_of_its_bound_and_in_all_above(served: Served) -> None:
    for seconds in (0.05, 0.1, 0.3, 5_000):
        served.figures.observe(LIVE, ("arrival", ""), seconds)
    buckets = {le: served.sample(f"{LIVE}_bucket", le=le) for le in ("0.1", "0.25", "0.5", "900.0", "+Inf")}
    assert buckets == {"0.1": 2, "0.25": 2, "0.5": 3, "900.0": 3, "+Inf": 4}
    assert served.sample(f"{LIVE}_sum") == pytest.approx(5_000.45)


def test_latencies_of_alerts_are_those_of_what_the_worker_decided() -> None:
    process = Process(Settings(), {}, threading.Event())
    quiet = Service("intake", 0, Stateless, lambda _: None, logger("t"))
    process._observe("alerts", quiet).report(Batch(latencies_s=(0.5, 3.0)), False)  # type: ignore[arg-type]
    assert process._figures.histograms()["tidemark_alert_latency_seconds"][()].total_s == 3.5


def test_every_figure_of_a_role_is_read_or_counted_by_it() -> None:
    assert {family.role for family in FAMILIES} - {""} == {*backlog.READERS, *OBSERVED}
    assert backlog.of_role("close") == ["tidemark_outbox_pending"]


def test_a_close_counts_what_it_refused_by_cause() -> None:
    reported: list[Any] = []
    plain = Service("close", 60, Stateless, lambda _: None, logger("t"), lambda *given: reported.append(given))
    process = Process(Settings(), {}, threading.Event())
    keys = tuple(PeriodKey("t", f"c{number}", instant(0), instant(1)) for number in range(3))
    closed = Closed(
        None, 0, 0, 0, (Refusal("lag", "", keys[:2]), Refusal("lag", "", keys[2:]), Refusal("drift", "", keys))
    )
    process._observe("close", plain).report(closed, False)  # type: ignore[arg-type]
    refused = process._figures.all()["tidemark_periods_refused"]
    assert (refused["lag",], refused["drift",], refused["jobs",]) == (3, 3, 0)
    assert reported == [(closed, False)]


def test_records_behind_are_those_between_what_is_done_and_the_ends() -> None:
    assert backlog.behind({0: 10, 1: 5, 2: 0}, {0: 7, 1: 9}) == 3
    assert backlog.behind({0: 10}, {}) == 10


def test_a_port_that_is_taken_is_named_with_what_to_set(served: Served) -> None:
    host, _, port = served.listener.address.rpartition(":")
    with pytest.raises(UnavailableError, match=r"serve\.listen"):
        Listener((host, int(port)), lambda *_: [])


@pytest.mark.parametrize(
    ("listen", "address"),
    [("off", None), ("127.0.0.1:0", ("127.0.0.1", 0)), ("[::1]:9464", ("::1", 9464)), ("0.0.0.0:80", ("0.0.0.0", 80))],  # noqa: S104
)
def test_an_address_is_a_host_and_a_port_or_off(
    listen: str, address: tuple[str, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TIDEMARK_SERVE__LISTEN", listen)
    assert load().serve.address == address


@pytest.mark.parametrize("listen", ["9464", "localhost", "a:70000", ":9464", "on"])
def test_what_is_no_address_is_refused(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEMARK_SERVE__LISTEN", listen)
    with pytest.raises(Exception, match=r"serve\.listen"):
        load()


def test_by_default_nothing_but_this_machine_can_ask() -> None:
    assert Settings().serve.address == ("127.0.0.1", 9464)


def test_a_process_that_listens_nowhere_has_no_endpoint_and_all_else() -> None:
    quotas = Service("quotas", 1, Stateless, lambda _: None, logger("t"))
    for listen, own in (("off", ["backlog", "report"]), ("127.0.0.1:0", ["backlog", "report", "http"])):
        settings = Settings().with_changes({"serve.listen": listen})
        process = Process(settings, {"quotas": [quotas]}, threading.Event())
        assert [one.service for one in process.health()] == ["quotas", *own]


def test_latency_is_sampled_where_health_runs_unless_a_setting_says_never() -> None:
    watch = Service("health", 1, Stateless, lambda _: None, logger("t"))
    for every_s, own in ((5, ["backlog", "report", "latency"]), (0, ["backlog", "report"])):
        settings = Settings().with_changes({"serve.listen": "off", "serve.sample_s": every_s})
        process = Process(settings, {"health": [watch]}, threading.Event())
        assert [one.service for one in process.health()] == ["health", *own]
