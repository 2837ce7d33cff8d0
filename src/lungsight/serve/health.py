"""What the node says of itself: /health for who asks whether it lives, /metrics for Prometheus. Loopback only."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lungsight.errors import OutputError

__all__ = ["HealthService", "Meters"]

_LOOPBACK = "127.0.0.1"
_log = logging.getLogger(__name__)


class Meters:
    """What is counted while the node runs.

    Attributes
    ----------
    received
        Instances acknowledged, by ``what``: new, or the same again.
    refused
        Instances not acknowledged, by ``why``.
    diagnoses
        Studies diagnosed, by ``outcome``: done, set_aside, later.
    seconds
        How long a diagnosis took.
    sends
        Attempts to send results, by ``outcome``: done, later.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        name = "lungsight_instances_received"
        self.received = Counter(name, "Instances acknowledged", ["what"], registry=self.registry)
        self.refused = Counter("lungsight_instances_refused", "Instances refused", ["why"], registry=self.registry)
        self.diagnoses = Counter("lungsight_diagnoses", "Studies diagnosed", ["outcome"], registry=self.registry)
        self.seconds = Histogram(
            "lungsight_diagnosis_seconds",
            "Time of a diagnosis",
            buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
            registry=self.registry,
        )
        self.sends = Counter("lungsight_sends", "Attempts to send results", ["outcome"], registry=self.registry)

    def watch(self, look: Callable[[], Mapping[str, Any]]) -> None:
        """Also tell what is looked up when asked: versions by state, free space, associations."""
        self.registry.register(_Gauges(look))


class _Gauges(Collector):
    def __init__(self, look: Callable[[], Mapping[str, Any]]) -> None:
        self._look = look

    def describe(self) -> Iterable[Metric]:
        return []  # nothing is looked up before the node runs

    def collect(self) -> Iterable[Metric]:
        now = self._look()
        studies = GaugeMetricFamily("lungsight_studies", "Versions of studies by state", labels=["state"])
        for state, count in now["studies"].items():
            studies.add_metric([state], count)
        yield studies
        yield GaugeMetricFamily("lungsight_disk_free_bytes", "Space left for the store", now["free_mb"] * 1e6)
        yield GaugeMetricFamily("lungsight_associations", "Open associations", now["associations"])
        yield GaugeMetricFamily("lungsight_healthy", "1 if /health answers 200", float(not now["problems"]))


class HealthService:
    """Answers on the loopback interface until it is closed.

    Parameters
    ----------
    port
        0 takes a free one.
    meters
        What was counted.
    look
        What is so now; the node is healthy if its ``problems`` are empty.

    Raises
    ------
    OutputError
        If the port cannot be listened on.
    """

    def __init__(self, port: int, meters: Meters, look: Callable[[], Mapping[str, Any]]) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if self.path == "/health":
                    now = look()
                    content = json.dumps({"status": "failing" if now["problems"] else "ok", **now}, indent=2).encode()
                    self._answer(503 if now["problems"] else 200, "application/json", content)
                elif self.path == "/metrics":
                    self._answer(200, CONTENT_TYPE_LATEST, generate_latest(meters.registry))
                else:
                    self._answer(404, "text/plain", b"/health and /metrics are here\n")

            def _answer(self, status: int, content_type: str, content: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", content_type)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class calls it so)
                _log.debug(format, *args)

        try:
            self._server = ThreadingHTTPServer((_LOOPBACK, port), Handler)
        except OSError as error:
            what = f"port {port} for /health cannot be listened on: {error.strerror or error}"
            raise OutputError(what, "a free port", "Choose another --health-port.") from error
        threading.Thread(target=self._server.serve_forever, name="health", daemon=True).start()

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return self._server.server_port

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()
