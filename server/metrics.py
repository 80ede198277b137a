"""What an operator watches: Prometheus metrics, fed by the rooms through one small function.

The rooms say `observe(name, labels, value)` and know nothing of Prometheus. Names and buckets are here.
No label ever holds an id, a text or a token.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 180)

Labels = dict[str, str]


class Metrics:
    """One registry per node."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        counter, histogram = partial(Counter, registry=registry), partial(Histogram, registry=registry)
        self._http = histogram(
            "http_request_duration_seconds",
            "Requests by route.",
            ["method", "route", "status_code"],
            buckets=_SECONDS,
        )
        self._commands = histogram(
            "session_command_duration_seconds",
            "Commands over sockets, to their answer.",
            ["type", "outcome"],
            buckets=_SECONDS,
        )
        self._attempts = counter("openrouter_requests_total", "Attempts at a model.", ["model", "status"])
        self._tokens = counter("token_usage_total", "Tokens used, prompt and completion.", ["model", "type"])
        self._free_requests = counter(
            "free_model_requests_total", "Attempts at free models.", ["model", "user_tier", "success"]
        )
        self._free_seconds = histogram(
            "free_model_response_time_seconds", "Whole answers of free models.", ["model"], buckets=_SECONDS
        )
        self._free_errors = counter(
            "free_model_errors_total", "Failures of free models.", ["model", "error_type"]
        )
        self._switches = counter("generation_switches_total", "Changes of attempt.", ["cause", "mode"])
        self._ends = counter("generations_finished_total", "Generations by how they ended.", ["status"])
        self._answers = histogram(
            "generation_duration_seconds", "Whole generations.", ["status"], buckets=_SECONDS
        )
        self._first_token = histogram(
            "generation_first_token_seconds", "From the start to the first text.", ["model"], buckets=_SECONDS
        )
        self._resumes = counter("session_resumes_total", "Sessions by how they resumed.", ["result"])
        self._closes = counter("session_closes_total", "Sockets closed from here.", ["code"])
        self._limited = counter("rate_limited_total", "Orders refused by a limit.", ["limit"])
        self._observers: dict[str, Callable[[Labels, float], None]] = {
            "http": self._request,
            "command": lambda labels, value: self._commands.labels(**labels).observe(value),
            "attempt": self._attempt,
            "tokens": lambda labels, value: self._tokens.labels(**labels).inc(value),
            "switch": lambda labels, value: self._switches.labels(**labels).inc(value),
            "end": self._end,
            "first_token": lambda labels, value: self._first_token.labels(**labels).observe(value),
            "resume": lambda labels, value: self._resumes.labels(**labels).inc(value),
            "close": lambda labels, value: self._closes.labels(**labels).inc(value),
            "limited": lambda labels, value: self._limited.labels(**labels).inc(value),
        }

    def observe(self, name: str, labels: Labels, value: float) -> None:
        """Take one observation; one nobody knows is a mistake of the house."""
        self._observers[name](labels, value)

    def watch(self, name: str, help_text: str, read: Callable[[], float]) -> None:
        """A gauge that is read when somebody asks."""
        Gauge(name, help_text, registry=self._registry).set_function(read)

    def render(self) -> bytes:
        """Everything, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _request(self, labels: Labels, seconds: float) -> None:
        method, route, status = labels["method"], labels["route"], labels["status"]
        self._http.labels(method=method, route=route, status_code=status).observe(seconds)

    def _attempt(self, labels: Labels, seconds: float) -> None:
        model, outcome = labels["model"], labels["outcome"]
        self._attempts.labels(model=model, status=outcome).inc()
        if labels["free"] == "True":
            # whoever stopped it had no reason to complain of the model
            failed = outcome not in {"completed", "cancelled", "interrupted"}
            success = "false" if failed else "true"
            self._free_requests.labels(model=model, user_tier=labels["tier"], success=success).inc()
            if outcome == "completed":
                self._free_seconds.labels(model=model).observe(seconds)
            elif failed:
                self._free_errors.labels(model=model, error_type=outcome).inc()

    def _end(self, labels: Labels, seconds: float) -> None:
        self._ends.labels(**labels).inc()
        self._answers.labels(**labels).observe(seconds)
