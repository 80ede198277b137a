"""Databases made from nothing, and everything a schema consists of, so that two moments can be compared."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import asyncpg

from tests.adapters.postgres.given import connected
from tests.services import Database, with_database

Objects = dict[str, frozenset[tuple[object, ...]]]


@asynccontextmanager
async def empty_database(near: Database, *, owner: str = "") -> AsyncIterator[Database]:
    """A database with nothing in it, on the server of `near`."""
    name = f"empty_{secrets.token_hex(6)}"
    async with connected(with_database(near.admin_url, "postgres")) as admin:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE template0 {f'OWNER {owner}' if owner else ''}")
        try:
            yield Database(with_database(near.admin_url, name), with_database(near.app_url, name))
        finally:
            await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def database_name(url: str) -> str:
    return urlsplit(url).path.lstrip("/")


_ACL = "(SELECT coalesce(array_agg(a::text ORDER BY a::text), '{{}}') FROM unnest({acl}) AS a)"
_QUERIES = {
    "schema": """
        SELECT nspowner::regrole::text, {acl}
        FROM pg_namespace WHERE nspname = $1""",
    "relations": """
        SELECT relname, relkind::text, relowner::regrole::text, relrowsecurity, relforcerowsecurity,
            pg_get_expr(relpartbound, oid), {acl}
        FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)""",
    "columns": """
        SELECT attrelid::regclass::text, attname, attnum, format_type(atttypid, atttypmod), attnotnull,
            attgenerated::text, pg_get_expr(adbin, adrelid), {acl}
        FROM pg_attribute
        JOIN pg_class ON pg_class.oid = attrelid AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
        LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p')""",
    "constraints": """
        SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid)
        FROM pg_constraint WHERE connamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)""",
    "indexes": """
        SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid)
        FROM pg_index JOIN pg_class ON pg_class.oid = indrelid AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)""",
    "policies": """
        SELECT tablename, policyname, permissive, roles::text, cmd, qual, with_check
        FROM pg_policies WHERE schemaname = $1""",
    "functions": """
        SELECT proname, pg_get_functiondef(oid), proowner::regrole::text, {acl}
        FROM pg_proc WHERE pronamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)""",
    "triggers": """
        SELECT tgrelid::regclass::text, tgname, pg_get_triggerdef(pg_trigger.oid)
        FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)
        WHERE NOT tgisinternal""",
    "sequences, types": """
        SELECT typname, typtype::text FROM pg_type WHERE typnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1) AND typtype <> 'p'""",
}
_RIGHTS = {
    "schema": "coalesce(nspacl, acldefault('n', nspowner))",
    "relations": "coalesce(relacl, acldefault('r', relowner))",
    "columns": "coalesce(attacl, '{}')",
    "functions": "coalesce(proacl, acldefault('f', proowner))",
}


async def everything_in(connection: asyncpg.Connection, schema: str = "chat") -> Objects:
    """Tables, columns, constraints, indexes, policies, functions, triggers, types and who may do what."""
    found: Objects = {}
    for kind, query in _QUERIES.items():
        acl = _ACL.format(acl=_RIGHTS.get(kind, "'{}'"))
        rows = await connection.fetch(query.replace("{acl}", acl), schema)
        found[kind] = frozenset(tuple(_plain(value) for value in row.values()) for row in rows)
    return found


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
