"""PostgreSQL and Valkey in this process: start, stop, faults, and what they let others see."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import psutil
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from server.embedded.errors import DataDirInUse, StartFailed
from server.embedded.ports import LOOPBACK
from server.embedded.services import EmbeddedServices
from server.embedded.valkey import Valkey
from tests.services import own_services

T = TypeVar("T")

pytestmark = pytest.mark.node


@contextlib.asynccontextmanager
async def valkey_client(url: str | None, silence: float = 5.0) -> AsyncIterator[redis.asyncio.Redis]:
    assert url is not None
    client = redis.asyncio.Redis.from_url(url, socket_timeout=silence, retry=Retry(NoBackoff(), 0))
    try:
        yield client
    finally:
        await client.aclose()


async def query(url: str | None, statement: str) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def family(*pids: int) -> list[psutil.Process]:
    """Those processes and all their descendants."""
    roots = [psutil.Process(pid) for pid in pids]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def while_it_lives(ask: Callable[[], list[T]]) -> list[T]:
    """What is asked of a process; PostgreSQL's short-lived workers may have ended since they were listed."""
    try:
        return ask()
    except psutil.NoSuchProcess:
        return []


def children_naming(directory: Path) -> list[psutil.Process]:
    found = []
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if str(directory) in " ".join(child.cmdline()):
                found.append(child)
    return found


def test_a_cold_start_serves_both_and_a_warm_one_keeps_their_data(tmp_path):
    async def scenario() -> None:
        async with EmbeddedServices(tmp_path / "data") as services:
            await query(services.urls.database_admin_url, "CREATE TABLE kept AS SELECT 'é' AS letter")
            async with valkey_client(services.urls.redis_url) as client:
                await client.set("kept", "1")
        async with EmbeddedServices(tmp_path / "data") as services:
            assert await query(services.urls.database_admin_url, "SELECT upper(letter) FROM kept") == "É"
            async with valkey_client(services.urls.redis_url) as client:
                assert await client.get("kept") == b"1"

    asyncio.run(scenario())


def test_only_what_is_asked_for_runs(tmp_path):
    async def scenario() -> None:
        async with EmbeddedServices(tmp_path, postgres=False, durable=False) as services:
            assert services.urls.database_url is None
            assert services.urls.database_admin_url is None
            assert services.urls.redis_url == services.valkey.url
            with pytest.raises(LookupError):
                _ = services.postgres

    asyncio.run(scenario())


def test_production_durability_is_the_default_and_valkey_never_evicts(tmp_path):
    async def scenario() -> None:
        async with EmbeddedServices(tmp_path) as services:
            for name in ("fsync", "synchronous_commit", "full_page_writes"):
                assert await query(services.urls.database_admin_url, f"SHOW {name}") == "on"
            async with valkey_client(services.urls.redis_url) as client:
                kept = await client.config_get("append*", "maxmemory-policy")
            assert kept["appendonly"] == "yes"
            assert kept["appendfsync"] == "everysec"
            assert kept["maxmemory-policy"] == "noeviction"

    asyncio.run(scenario())


def test_the_login_role_is_nobody_until_migrations_say_so(tmp_path):
    """The service connects as a role that owns nothing and cannot bypass row level security."""

    async def scenario() -> None:
        async with EmbeddedServices(tmp_path, valkey=False, durable=False) as services:
            url = services.urls.database_url
            rights = "rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication"
            assert await query(url, "SELECT current_user::text") == "chat_app"
            assert await query(url, f"SELECT {rights} FROM pg_roles WHERE rolname = current_user") is False
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await query(url, "CREATE TABLE mine (id int)")

    asyncio.run(scenario())


def test_services_listen_on_loopback_only(services):
    for pid, port in (
        (services.postgres.pid, services.postgres.port),
        (services.valkey.pid, services.valkey.port),
    ):
        listening = {
            (connection.laddr.ip, connection.laddr.port)
            for process in family(pid)
            for connection in while_it_lives(process.net_connections)
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {(LOOPBACK, port)}


def test_a_password_is_needed_and_stands_on_no_command_line(services):
    async def scenario() -> None:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(
                host=LOOPBACK,
                port=services.postgres.port,
                user="postgres",
                password="guess",
                ssl=False,
                timeout=10,
            )
        async with valkey_client(f"redis://{LOOPBACK}:{services.valkey.port}") as client:
            with pytest.raises(redis.exceptions.AuthenticationError):
                await client.ping()

    asyncio.run(scenario())
    passwords = [services.urls.redis_url, services.urls.database_url, services.urls.database_admin_url]
    passwords = [url.split("@")[0].rpartition(":")[2] for url in passwords]
    assert all(len(password) == 48 for password in passwords)
    for process in family(services.postgres.pid, services.valkey.pid):
        line = " ".join(while_it_lives(process.cmdline))
        assert not any(password in line for password in passwords)


def test_services_live_in_sessions_of_their_own(services):
    """The terminal's Ctrl-C goes to the foreground process group, in which they are not."""
    assert os.getsid(services.postgres.pid) == services.postgres.pid
    assert os.getsid(services.valkey.pid) == services.valkey.pid


def test_stopping_leaves_no_process_no_port_and_no_hold(tmp_path):
    async def scenario() -> tuple[list[psutil.Process], list[int | None]]:
        async with EmbeddedServices(tmp_path, durable=False) as services:
            processes = family(services.postgres.pid, services.valkey.pid)
            ports = [services.postgres.port, services.valkey.port]
        await services.stop()  # a second time does nothing
        return processes, ports

    processes, ports = asyncio.run(scenario())
    assert len(processes) > 2
    assert not any(process.is_running() for process in processes)
    for port in ports:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((LOOPBACK, port), timeout=5)
    assert not list(tmp_path.glob("*.pid"))
    assert (tmp_path / "lock").read_text() == ""


def test_a_second_start_in_the_same_process_is_refused(tmp_path):
    async def scenario() -> None:
        async with EmbeddedServices(tmp_path, postgres=False, durable=False) as services:
            with pytest.raises(DataDirInUse, match=f"process {os.getpid()}"):
                await EmbeddedServices(tmp_path, durable=False).__aenter__()
            assert services.valkey.running

    asyncio.run(scenario())


@pytest.mark.parametrize("seconds", [0.05, 0.3, 0.6])
def test_a_start_given_up_half_way_leaves_nothing_and_can_be_made_again(tmp_path, seconds):
    async def scenario() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), EmbeddedServices(tmp_path, durable=False):
                await asyncio.Event().wait()
        assert children_naming(tmp_path) == []
        async with EmbeddedServices(tmp_path, durable=False) as services:
            assert await query(services.urls.database_url, "SELECT 1") == 1

    asyncio.run(scenario())


def test_a_server_that_cannot_start_says_why_and_takes_the_other_down(tmp_path):
    async def scenario() -> None:
        async with EmbeddedServices(tmp_path, durable=False):
            pass
        (tmp_path / "postgres" / "cluster" / "PG_VERSION").write_text("9\n")
        with pytest.raises(StartFailed, match="incompatible"):
            await EmbeddedServices(tmp_path, durable=False).__aenter__()
        assert children_naming(tmp_path) == []
        (tmp_path / "postgres" / "cluster" / "PG_VERSION").write_text("18\n")
        async with EmbeddedServices(tmp_path, durable=False):
            pass

    asyncio.run(scenario())


def test_secrets_that_do_not_fit_the_cluster_are_told_apart_from_silence(tmp_path):
    async def scenario() -> None:
        async with EmbeddedServices(tmp_path, valkey=False, durable=False):
            pass
        (tmp_path / "secrets" / "postgres_password").unlink()
        with pytest.raises(StartFailed, match="restore the secrets"):
            await EmbeddedServices(tmp_path, valkey=False, durable=False).__aenter__()

    asyncio.run(scenario())


def test_a_server_that_outlived_its_starter_is_ended_at_the_next_start(tmp_path):
    """Where the kernel signals no orphans, the lock is free and the old server still there."""

    async def scenario() -> None:
        old = Valkey(tmp_path / "valkey", password="old", durable=False)
        await old.start()
        await old.pause()
        async with EmbeddedServices(tmp_path, postgres=False, durable=False) as services:
            assert not old.running
            async with valkey_client(services.urls.redis_url) as client:
                assert await client.ping()
        await old.stop()

    asyncio.run(scenario())


def test_a_strangers_pid_in_a_pid_file_neither_harms_it_nor_stops_the_start(tmp_path):
    """Pids come round again after a reboot, or in a new container on an old volume."""

    async def scenario() -> None:
        async with EmbeddedServices(tmp_path, durable=False):
            pass
        own = f"{os.getpid()}\n"
        (tmp_path / "valkey.pid").write_text(own)
        (tmp_path / "postgres.pid").write_text(own)
        (tmp_path / "postgres" / "cluster" / "postmaster.pid").write_text(own)
        async with EmbeddedServices(tmp_path, durable=False) as services:
            assert await query(services.urls.database_url, "SELECT 1") == 1

    asyncio.run(scenario())


def test_valkey_stopped_or_killed_comes_back_with_its_data_at_the_same_address():
    async def scenario() -> None:
        async with own_services(postgres=False) as services:
            url = services.urls.redis_url
            async with valkey_client(url) as client:
                await client.set("kept", "1")
            for end in (services.valkey.stop, services.valkey.kill):
                await end()
                with pytest.raises(ConnectionRefusedError):
                    await asyncio.open_connection(LOOPBACK, services.valkey.port)
                await services.valkey.start()
                assert services.urls.redis_url == url
                async with valkey_client(url) as client:
                    assert await client.get("kept") == b"1"
            await services.valkey.stop()
            await services.valkey.start(lose_data=True)
            async with valkey_client(url) as client:
                assert await client.dbsize() == 0

    asyncio.run(scenario())


def test_a_paused_valkey_is_silent_and_goes_on():
    async def scenario() -> None:
        async with own_services(postgres=False) as services:
            url = services.urls.redis_url
            await services.valkey.pause()
            async with valkey_client(url, silence=0.2) as client:
                with pytest.raises(redis.exceptions.TimeoutError):
                    await client.ping()
            await services.valkey.resume()
            async with valkey_client(url) as client:
                assert await client.ping()
            await services.valkey.pause()  # and a paused one can be stopped

    asyncio.run(scenario())


def test_postgres_stopped_or_killed_comes_back_with_what_was_committed():
    async def scenario() -> None:
        async with own_services(valkey=False) as services:
            url = services.urls.database_admin_url
            await query(url, "CREATE TABLE kept AS SELECT 7 AS n")
            held_open = await asyncpg.connect(url, timeout=10)
            for end in (services.postgres.stop, services.postgres.kill):
                await end()
                with pytest.raises(OSError, match="Connect"):
                    await asyncpg.connect(url, timeout=10)
                await services.postgres.start()
                assert services.urls.database_admin_url == url
                assert await query(url, "SELECT n FROM kept") == 7
            held_open.terminate()

    asyncio.run(scenario())


def test_a_restart_waits_for_its_port():
    async def scenario() -> None:
        async with own_services(postgres=False) as services:
            await services.valkey.stop()
            with socket.socket() as squatter:
                squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                squatter.bind((LOOPBACK, services.valkey.port))
                squatter.listen()
                starting = asyncio.create_task(services.valkey.start())
                done, _ = await asyncio.wait([starting], timeout=0.5)
                assert not done
            await starting
            async with valkey_client(services.urls.redis_url) as client:
                assert await client.ping()

    asyncio.run(scenario())


def test_starting_what_runs_is_a_mistake_of_the_caller(services):
    with pytest.raises(RuntimeError, match="runs already"):
        asyncio.run(services.valkey.start())
