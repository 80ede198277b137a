"""What the fixtures promise: every database migrated, empty, and nobody else's."""

import asyncio

import asyncpg
import pytest

pytestmark = pytest.mark.node


async def fetch(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_a_fresh_database_is_migrated_and_alone(fresh_database):
    first, second = fresh_database(), fresh_database()
    migrated = "SELECT count(*) > 0 FROM chat.schema_migrations"
    assert asyncio.run(fetch(first.admin_url, migrated)) is True
    asyncio.run(fetch(first.admin_url, "CREATE TABLE public.mine AS SELECT 1"))
    assert asyncio.run(fetch(second.admin_url, "SELECT to_regclass('public.mine')")) is None


def test_the_login_role_reaches_the_fresh_database(database, database_url, database_admin_url):
    assert database == (database_admin_url, database_url)
    assert asyncio.run(fetch(database_url, "SELECT current_user::text")) == "chat_app"
