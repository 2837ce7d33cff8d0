from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lungsight.errors import OutputError
from lungsight.serve.health import HealthService, Meters
from refusals import refused


@pytest.fixture
def now() -> dict[str, Any]:
    return {"studies": {"SENT": 3, "SET_ASIDE": 1}, "free_mb": 5, "associations": 2, "problems": []}


@pytest.fixture
def meters(now: dict[str, Any]) -> Meters:
    one = Meters()
    one.watch(lambda: now)
    return one


@pytest.fixture
def service(meters: Meters, now: dict[str, Any]) -> Iterator[HealthService]:
    one = HealthService(0, meters, lambda: now)
    yield one
    one.close()


def ask(service: HealthService, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://localhost:{service.port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_health_says_ok_or_what_is_wrong(service: HealthService, now: dict[str, Any]) -> None:
    code, said = ask(service, "/health")
    assert (code, json.loads(said)) == (200, {"status": "ok", **now})
    now["problems"] = ["The disk is full."]
    code, said = ask(service, "/health")
    assert (code, json.loads(said)["status"]) == (503, "failing")


def test_metrics_are_what_prometheus_reads(service: HealthService, meters: Meters) -> None:
    meters.received.labels("new").inc(7)
    code, said = ask(service, "/metrics")
    families = {family.name: family for family in text_string_to_metric_families(said)}
    assert code == 200
    (received,) = (one for one in families["lungsight_instances_received"].samples if one.name.endswith("_total"))
    assert (received.labels, received.value) == ({"what": "new"}, 7)
    states = {one.labels["state"]: one.value for one in families["lungsight_studies"].samples}
    assert states == {"SENT": 3, "SET_ASIDE": 1}
    assert families["lungsight_disk_free_bytes"].samples[0].value == 5e6
    assert families["lungsight_associations"].samples[0].value == 2
    assert families["lungsight_healthy"].samples[0].value == 1


def test_there_is_nothing_else(service: HealthService) -> None:
    assert ask(service, "/")[0] == 404


def test_it_is_reached_from_this_machine_only(service: HealthService) -> None:
    assert service._server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_told(service: HealthService, meters: Meters) -> None:
    with refused(OutputError, f"port {service.port} for /health", "a free port", "--health-port"):
        HealthService(service.port, meters, dict)
