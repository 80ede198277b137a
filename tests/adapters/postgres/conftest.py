"""A migrated database per file, into which the service's login may come."""

from __future__ import annotations

import asyncio

import pytest

from server.adapters.postgres.roles import grant_login
from tests.services import Database


@pytest.fixture(scope="module")
def granted(module_database: Database) -> Database:
    asyncio.run(grant_login(module_database.admin_url, "chat_app"))
    return module_database


@pytest.fixture(scope="module")
def app_url(granted: Database) -> str:
    return granted.app_url


@pytest.fixture(scope="module")
def admin_url(granted: Database) -> str:
    return granted.admin_url
