"""Fixtures for all tests: real services, databases, brokers, browsers, seeds, and a clean environment.

| fixture | life | is |
|---|---|---|
| `services` | session | running `EmbeddedServices` of this pytest process; leave them running |
| `redis_url` | session | its Valkey, shared: use ids of your own, or `clean_redis_url` |
| `clean_redis_url` | test | the same, emptied before |
| `fresh_database` | session | a function that makes a migrated, empty database |
| `database` | test | one of them, with `.admin_url` and `.app_url` |
| `database_admin_url`, `database_url` | test | the two addresses of `database` |
| `module_database` | module | one for a whole file |
| `rabbitmq_url` | session | the address of a running RabbitMQ, shared |
| `chromium` | session | the path of a Chromium |
| `seed` | test | where randomness begins; printed, and repeated with TEST_SEED |

Tests that use these are marked `node` (`browser`) by themselves. For faults: `tests.services.own_services`,
`tests.rabbitmq.running_rabbitmq`.
"""

from __future__ import annotations

import asyncio
import os
import re
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest
import redis

from server.embedded.services import EmbeddedServices
from tests import services as real
from tests.chromium import chromium_path
from tests.rabbitmq import RabbitMQ, running_rabbitmq
from tests.services import Database, FreshDatabase

_ROOT = Path(__file__).parent.parent
_BROKER = pytest.StashKey[RabbitMQ]()
_SETTING = re.compile(r"^#?\s*([A-Z][A-Z0-9_]*)=", re.MULTILINE)

hypothesis.settings.register_profile("fast", deadline=None, max_examples=60, print_blob=True)
# The same examples each time: CI judges the change. New ones are looked for by everybody's own runs.
hypothesis.settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True)
hypothesis.settings.load_profile(
    os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") else "fast")
)


def _clean_environment() -> None:
    """Forget the settings of whoever runs the tests; `.env.example` names them all."""
    example = _ROOT / ".env.example"
    for name in _SETTING.findall(example.read_text(encoding="utf-8")) if example.exists() else ():
        os.environ.pop(name, None)


_clean_environment()


def pytest_configure(config: pytest.Config) -> None:
    # In the environment, so that xdist's workers, started after this, have the same one.
    os.environ.setdefault("TEST_SEED", str(secrets.randbits(32)))


def pytest_report_header(config: pytest.Config) -> list[str]:
    return [f"seed: {os.environ['TEST_SEED']} (TEST_SEED={os.environ['TEST_SEED']} repeats it)"]


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by what is used, so that the fast loop never starts a server."""
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        if used & {"services", "rabbitmq_url"}:
            item.add_marker("node")
        if "chromium" in used:
            item.add_marker("browser")
        if "rabbitmq_url" in used:
            # One broker for the run, not one per worker: it takes seconds to start (--dist loadgroup).
            item.add_marker(pytest.mark.xdist_group("rabbitmq"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Say with a failure what the broker complained of."""
    report = yield
    broker = item.config.stash.get(_BROKER, None)
    if report.failed and broker is not None and "rabbitmq_url" in getattr(item, "fixturenames", ()):
        report.sections.append(("RabbitMQ", broker.complaints()))
    return report


@pytest.fixture(scope="session")
def services() -> Iterator[EmbeddedServices]:
    with real.running_services() as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(services: EmbeddedServices) -> str:
    url = services.urls.redis_url
    assert url is not None
    return url


@pytest.fixture
def clean_redis_url(redis_url: str) -> str:
    with redis.Redis.from_url(redis_url, socket_timeout=5.0) as client:
        client.flushall()
    return redis_url


@pytest.fixture(scope="session")
def fresh_database(services: EmbeddedServices) -> FreshDatabase:
    asyncio.run(real.make_template(services))
    return lambda: asyncio.run(real.copy_template(services))


@pytest.fixture
def database(fresh_database: FreshDatabase) -> Iterator[Database]:
    made = fresh_database()
    yield made
    asyncio.run(real.drop_database(made))


@pytest.fixture(scope="module")
def module_database(fresh_database: FreshDatabase) -> Iterator[Database]:
    made = fresh_database()
    yield made
    asyncio.run(real.drop_database(made))


@pytest.fixture
def database_admin_url(database: Database) -> str:
    return database.admin_url


@pytest.fixture
def database_url(database: Database) -> str:
    return database.app_url


@pytest.fixture(scope="session")
def rabbitmq_url(pytestconfig: pytest.Config) -> Iterator[str]:
    # The address alone: after a restart the queues of a RabbitMQ before 4.1 may be without a process for
    # good (rabbitmq/rabbitmq-server#4512), so a test that restarts one has one of its own.
    with running_rabbitmq() as broker:
        pytestconfig.stash[_BROKER] = broker
        yield broker.url


@pytest.fixture(scope="session")
def chromium() -> Path:
    return chromium_path()


@pytest.fixture
def seed() -> int:
    number = int(os.environ["TEST_SEED"])
    print(f"TEST_SEED={number}")  # noqa: T201 - pytest shows it when the test fails
    return number
