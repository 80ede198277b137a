"""Settings: all of them written down, their defaults, and every mistake told by name before anything starts."""

from __future__ import annotations

import base64
import os
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from server.settings import Settings, SettingsError, load

_EXAMPLE = Path(__file__).parent.parent / ".env.example"
_LINE = re.compile(r"^#([A-Z][A-Z0-9_]*)=(.*)$")
_NAMES = sorted(name.upper() for name in Settings.model_fields)

_DEFAULTS: dict[str, Any] = {
    "HOST": "127.0.0.1", "PORT": 3006, "APP_ENV": "development", "NODE_ID": "", "ALLOWED_ORIGINS": (),
    "PUBLIC_URL": "", "TRUSTED_PROXIES": (), "LOG_LEVEL": "info", "LOG_FORMAT": "json", "LOG_FILE": "",
    "ENABLE_METRICS": True, "OTEL_EXPORTER_OTLP_ENDPOINT": "", "EMBEDDED_DATA_DIR": Path("./.data"),
    "DATABASE_URL": None, "DB_HOST": "", "DB_PORT": 5432, "DB_NAME": "atma_db", "DB_USER": "atma_user",
    "DB_PASSWORD": "", "DB_SCHEMA": "chat", "DB_POOL_MIN": 5, "DB_POOL_MAX": 20, "DATABASE_READ_URL": None,
    "DATABASE_ADMIN_URL": None,
    "REDIS_URL": None, "LOG_WINDOW_EVENTS": 1000, "LOG_WINDOW_HOURS": 24, "TEXT_WINDOW_MINUTES": 10,
    "OPENROUTER_API_KEY": None, "OPENROUTER_BASE_URL": "https://openrouter.ai/api/v1",
    "HTTP_REFERER": "https://atma.chhrone.web.id", "X_TITLE": "ATMA - AI Talent Mapping",
    "DEFAULT_MODEL": "qwen/qwen3-235b-a22b-07-25:free",
    "FALLBACK_MODEL": "meta-llama/llama-3.2-3b-instruct:free",
    "EXTRA_FALLBACK_MODELS": ("openrouter/free",), "EMERGENCY_FALLBACK_MODEL": "openai/gpt-4o-mini",
    "USE_FREE_MODELS_ONLY": True, "MODEL_COOLDOWN_SECONDS": 15, "PREMIUM_MODELS": (),
    "PREMIUM_MODELS_FOR": "all", "MAX_TOKENS": 1000,
    "TEMPERATURE": 0.7, "MAX_ATTEMPTS": 4,
    "CONNECT_TIMEOUT_SECONDS": 5, "FIRST_TOKEN_TIMEOUT_SECONDS": 20, "STALL_TIMEOUT_SECONDS": 20,
    "GENERATION_TIMEOUT_SECONDS": 180, "INTERIM_AFTER_SECONDS": 10, "INTERIM_EVERY_SECONDS": 10,
    "REST_WAIT_SECONDS": 50, "HEARTBEAT_SECONDS": 25, "LEASE_SECONDS": 6, "SLOW_READER_SECONDS": 30,
    "AUTH_GRACE_SECONDS": 25, "DRAIN_SECONDS": 20, "SEAM_HOLD_SECONDS": 0.7, "SEAM_HOLD_CHARS": 200,
    "RATE_LIMIT_MESSAGES_PER_HOUR": 200, "RATE_LIMIT_CONVERSATIONS_PER_DAY": 100,
    "FREE_MODEL_RATE_LIMIT_PER_MINUTE": 20, "API_RATE_LIMIT_PER_15_MINUTES": 1000,
    "MAX_MESSAGE_LENGTH": 4000, "MAX_CONVERSATION_HISTORY_TOKENS": 6000, "MAX_SESSIONS_PER_USER": 10,
    "MAX_GENERATIONS_PER_USER": 3,
    "RABBITMQ_URL": None, "EVENTS_EXCHANGE_NAME": "atma_events_exchange",
    "CHAT_QUEUE_NAME": "chatbot_analysis_events", "CONSUMER_PREFETCH": 10, "CONSUMER_MAX_ATTEMPTS": 5,
    "CONSUMER_RETRY_SECONDS": (1, 5, 15, 60),
    "AUTH_SERVICE_URL": "", "ASSESSMENT_SERVICE_URL": "", "ARCHIVE_SERVICE_URL": "",
    "NOTIFICATION_SERVICE_URL": "", "AUTH_VERIFY_REMOTE": False,
    "JWT_SECRET": None, "INTERNAL_SERVICE_KEY": None, "CONTENT_ENCRYPTION_KEYS": (), "RETENTION_DAYS": 365,
    "CONTENT_FILTER": "flag",
}  # fmt: skip

_SECRET = "a secret that is quite long enough"
_PRODUCTION = {
    "APP_ENV": "production",
    "DATABASE_URL": "postgresql://u:p@db/chat",
    "REDIS_URL": "redis://redis:6379/0",
    "OPENROUTER_API_KEY": "sk-or-1",
    "JWT_SECRET": _SECRET,
    "INTERNAL_SERVICE_KEY": _SECRET[::-1],
}


def _plain(value: Any) -> Any:
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def values(settings: Settings) -> dict[str, Any]:
    """Every setting by its variable."""
    return {name.upper(): _plain(getattr(settings, name)) for name in Settings.model_fields}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads the settings from these variables alone."""

    def given(variables: dict[str, str] | None = None) -> Settings:
        for name in _NAMES:
            monkeypatch.delenv(name, raising=False)
        for name, value in (variables or {}).items():
            monkeypatch.setenv(name, value)
        return load(_env_file=None)

    return given


def mistakes(given: Any, variables: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        given(variables)
    return raised.value.mistakes


# --- written down --------------------------------------------------------------------------------


def _examples() -> list[tuple[str, str, str]]:
    """Name, default and the line before it, of every setting in the example."""
    lines = _EXAMPLE.read_text(encoding="utf-8").splitlines()
    found = [(_LINE.match(line), before) for before, line in zip(["", *lines], lines, strict=False)]
    return [(match[1], match[2], before) for match, before in found if match]


def test_every_setting_is_in_the_example_once_and_nothing_else_is():
    assert sorted(name for name, _, _ in _examples()) == _NAMES


def test_every_setting_in_the_example_has_a_line_of_meaning():
    assert [
        name for name, _, meaning in _examples() if not re.match(r"^# [A-Za-z0-9].*[.,a-z]$", meaning)
    ] == []


def test_the_example_shows_the_defaults(given: Any, tmp_path: Path):
    uncommented = tmp_path / "env"
    uncommented.write_text("\n".join(f"{name}={value}" for name, value, _ in _examples()), encoding="utf-8")
    defaults = given()
    assert values(load(_env_file=uncommented)) == values(defaults)


def test_the_defaults_are_the_documented_ones(given: Any):
    assert values(given()) == _DEFAULTS


def test_a_file_is_read_too_and_the_environment_is_stronger(given: Any, tmp_path: Path):
    given({"PORT": "4001"})
    file = tmp_path / "env"
    file.write_text("PORT=4000\nHEARTBEAT_SECONDS=2.5\nPREMIUM_MODELS=\n", encoding="utf-8")
    settings = load(_env_file=file)
    assert (settings.port, settings.heartbeat_seconds, settings.premium_models) == (4001, 2.5, ())


def test_the_file_is_the_one_in_the_working_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.delenv("NODE_ID", raising=False)
    monkeypatch.chdir(tmp_path)
    Path(".env").write_text("NODE_ID=from-the-file\n", encoding="utf-8")
    assert load().node_id == "from-the-file"


def test_a_file_that_is_no_text_is_named(given: Any, tmp_path: Path):
    given({})
    file = tmp_path / "env"
    file.write_bytes(b"X_TITLE=\xff\xfe\n")
    with pytest.raises(SettingsError) as refused:
        load(_env_file=file)
    assert refused.value.mistakes == [".env: is not UTF-8 (byte 8)"]


# --- what they mean ------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["INFO", "Warning", "debug"])
def test_a_log_level_is_known_in_any_case(given: Any, level: str):
    assert given({"LOG_LEVEL": level}).log_level == level.lower()


def test_lists_are_separated_by_commas(given: Any):
    settings = given(
        {
            "ALLOWED_ORIGINS": "https://A.example/, http://b.example:8080",
            "TRUSTED_PROXIES": "10.0.0.0/8,::1",
            "EXTRA_FALLBACK_MODELS": "a/b:free, c/d:free,",
            "CONSUMER_RETRY_SECONDS": "0.5, 2",
            "OPENROUTER_API_KEY": "sk-1, sk-2",
        }
    )
    assert settings.allowed_origins == ("https://a.example", "http://b.example:8080")
    assert settings.trusted_proxies == ("10.0.0.0/8", "::1")
    assert settings.extra_fallback_models == ("a/b:free", "c/d:free")
    assert settings.consumer_retry_seconds == (0.5, 2.0)
    assert settings.openrouter_keys == ("sk-1", "sk-2")


def test_the_database_is_one_address_or_parts(given: Any):
    assert given().database is None
    assert given({"DATABASE_URL": "postgres://u:p@h/d"}).database == "postgres://u:p@h/d"
    parts = {"DB_HOST": "db", "DB_PORT": "5433", "DB_NAME": "n/1", "DB_USER": "u@x", "DB_PASSWORD": "p:/?#"}
    assert given(parts).database == "postgresql://u%40x:p%3A%2F%3F%23@db:5433/n%2F1"
    assert given({**parts, "DATABASE_URL": "postgres://u:p@h/d"}).database == "postgres://u:p@h/d"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql:///chat?host=/run/postgresql"),
        ("DATABASE_URL", "postgresql://u:p%2F@[::1]:5432/chat"),
        ("DATABASE_URL", "postgresql://u:p@one:5432,two/chat?target_session_attrs=read-write"),
        ("REDIS_URL", "redis://:p@ss@redis_1:6379/0"),
        ("REDIS_URL", "redis+sentinel://:p@a:26379,b:26379/master/0"),
        ("REDIS_URL", "redis+cluster://a:7000,[fe80::1%eth0]:7001"),
        ("RABBITMQ_URL", "amqps://u:p@broker/%2F"),
        ("ARCHIVE_SERVICE_URL", "http://archive-service:3002/base?x=1"),
    ],
)
def test_an_address_in_any_sound_form_is_taken(given: Any, name: str, value: str):
    held = getattr(given({name: value}), name.lower())
    assert (held if isinstance(held, str) else held.get_secret_value()) == value


def test_keys_may_stand_apart_and_end_with_a_line_break(given: Any):
    assert given({"OPENROUTER_API_KEY": "sk-one, sk-two\n"}).openrouter_keys == ("sk-one", "sk-two")


def test_zero_switches_a_limit_off(given: Any):
    limits = [name for name in _NAMES if name.startswith(("RATE_LIMIT", "FREE_MODEL", "API_RATE", "MAX_"))]
    counted = set(limits) - {"MAX_TOKENS", "MAX_ATTEMPTS"}
    assert len(counted) == 8
    settings = values(given(dict.fromkeys(counted, "0")))
    assert {settings[name] for name in counted} == {0}


# --- mistakes ------------------------------------------------------------------------------------

_BAD: list[tuple[str, str]] = [
    ("PORT", "-1"), ("PORT", "70000"), ("PORT", "http"), ("APP_ENV", "staging"), ("LOG_LEVEL", "loud"),
    ("LOG_FORMAT", "xml"), ("ENABLE_METRICS", "perhaps"), ("ALLOWED_ORIGINS", "*"),
    ("ALLOWED_ORIGINS", "https://a.example/path"), ("ALLOWED_ORIGINS", "a.example"),
    ("TRUSTED_PROXIES", "10.0.0.0/99"), ("TRUSTED_PROXIES", "proxy"), ("PUBLIC_URL", "a.example"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("DATABASE_URL", "mysql://u:p@h/d"), ("DATABASE_ADMIN_URL", "u:p@h"), ("DATABASE_READ_URL", "postgresql://"),
    ("DB_PORT", "0"), ("DB_SCHEMA", "Chat"), ("DB_SCHEMA", 'chat"; drop schema chat'), ("DB_POOL_MIN", "-1"),
    ("DB_POOL_MAX", "0"), ("REDIS_URL", "localhost:6379"), ("REDIS_URL", "http://redis"),
    ("LOG_WINDOW_EVENTS", "0"), ("LOG_WINDOW_HOURS", "0"), ("TEXT_WINDOW_MINUTES", "nan"),
    ("OPENROUTER_BASE_URL", "openrouter.ai"), ("USE_FREE_MODELS_ONLY", "2"), ("MODEL_COOLDOWN_SECONDS", "-1"),
    ("MAX_TOKENS", "0"), ("TEMPERATURE", "2.1"), ("TEMPERATURE", "warm"), ("MAX_ATTEMPTS", "0"),
    ("CONNECT_TIMEOUT_SECONDS", "0"), ("FIRST_TOKEN_TIMEOUT_SECONDS", "inf"), ("STALL_TIMEOUT_SECONDS", "-1"),
    ("GENERATION_TIMEOUT_SECONDS", "nan"), ("INTERIM_AFTER_SECONDS", "0"), ("INTERIM_EVERY_SECONDS", "x"),
    ("REST_WAIT_SECONDS", "0"), ("HEARTBEAT_SECONDS", "0"), ("LEASE_SECONDS", "0"), ("SLOW_READER_SECONDS", "0"),
    ("AUTH_GRACE_SECONDS", "-1"), ("DRAIN_SECONDS", "-1"), ("SEAM_HOLD_SECONDS", "61"), ("SEAM_HOLD_CHARS", "-1"),
    ("RATE_LIMIT_MESSAGES_PER_HOUR", "-1"), ("RATE_LIMIT_CONVERSATIONS_PER_DAY", "many"),
    ("FREE_MODEL_RATE_LIMIT_PER_MINUTE", "1.5"), ("API_RATE_LIMIT_PER_15_MINUTES", "-1"),
    ("MAX_MESSAGE_LENGTH", "60001"), ("MAX_CONVERSATION_HISTORY_TOKENS", "-1"), ("MAX_SESSIONS_PER_USER", "-1"),
    ("MAX_GENERATIONS_PER_USER", "-1"),
    ("RABBITMQ_URL", "rabbit:5672"), ("CONSUMER_PREFETCH", "0"), ("CONSUMER_MAX_ATTEMPTS", "0"),
    ("CONSUMER_RETRY_SECONDS", "1,x"), ("CONSUMER_RETRY_SECONDS", "0"), ("CONSUMER_RETRY_SECONDS", ","),
    ("AUTH_SERVICE_URL", "auth:3001"), ("ASSESSMENT_SERVICE_URL", "ftp://a"), ("ARCHIVE_SERVICE_URL", "archive"),
    ("NOTIFICATION_SERVICE_URL", "//n"), ("AUTH_VERIFY_REMOTE", "sometimes"),
    ("CONTENT_ENCRYPTION_KEYS", "not base64"), ("CONTENT_ENCRYPTION_KEYS", base64.b64encode(b"short").decode()),
    ("RETENTION_DAYS", "0"), ("CONTENT_FILTER", "on"), ("PREMIUM_MODELS_FOR", "everybody"),
    ("OPENROUTER_BASE_URL", "http://h:bad"), ("DATABASE_URL", "postgresql://u@h:bad/db"),
    ("DATABASE_READ_URL", "postgresql://h,i:bad/db"), ("REDIS_URL", "redis://:p@h:notaport"),
    ("REDIS_URL", "redis+sentinel://a:1,b:x/master"), ("RABBITMQ_URL", "amqp://h:70000"),
    ("AUTH_SERVICE_URL", "http://h:bad"), ("PUBLIC_URL", "https://[::1"), ("ARCHIVE_SERVICE_URL", "http://a b/"),
    ("NODE_ID", "node 1"), ("NODE_ID", "é"), ("NODE_ID", "a{b}"), ("DB_SCHEMA", "pg_chat"),
    ("OPENROUTER_API_KEY", "kéy"), ("OPENROUTER_API_KEY", "a\tb"),
    ("HTTP_REFERER", "a\nb"), ("X_TITLE", "a\x7f"), ("LOG_FILE", "/nowhere/at/all.log"), ("LOG_FILE", "/"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), _BAD)
def test_a_bad_value_is_refused_by_name(given: Any, name: str, value: str):
    (told,) = mistakes(given, {name: value})
    assert re.match(rf"{name}(\.\d+)?: \S", told)


def test_every_setting_that_can_be_wrong_is_tried_above():
    free_text = {
        "HOST", "EMBEDDED_DATA_DIR", "DB_HOST", "DB_NAME", "DB_USER", "DB_PASSWORD",
        "DEFAULT_MODEL", "FALLBACK_MODEL", "EXTRA_FALLBACK_MODELS",
        "EMERGENCY_FALLBACK_MODEL", "PREMIUM_MODELS", "EVENTS_EXCHANGE_NAME", "CHAT_QUEUE_NAME",
        # too short ones are refused in production
        "JWT_SECRET", "INTERNAL_SERVICE_KEY",
    }  # fmt: skip
    assert {name for name, _ in _BAD} | free_text == set(_NAMES)


def test_all_mistakes_are_told_at_once(given: Any):
    told = mistakes(
        given,
        {
            **_PRODUCTION,
            "PORT": "x",
            "TEMPERATURE": "9",
            "JWT_SECRET": "short",
            "DB_POOL_MIN": "30",
            "REDIS_URL": "",
        },
    )
    assert sorted(line.split()[0].rstrip(":") for line in told) == [
        "DB_POOL_MIN",
        "JWT_SECRET",
        "PORT",
        "REDIS_URL",
        "TEMPERATURE",
    ]


def test_what_is_wrong_is_not_called_missing_too(given: Any):
    (told,) = mistakes(given, {**_PRODUCTION, "REDIS_URL": "redis.example"})
    assert told.startswith("REDIS_URL: must be a URL")


def test_a_secret_is_not_repeated_in_a_mistake(given: Any):
    canary = "canary-3f9"
    told = mistakes(
        given,
        {
            "DATABASE_URL": f"mysql://u:{canary}@h/d",
            "REDIS_URL": canary,
            "RABBITMQ_URL": canary,
            "CONTENT_ENCRYPTION_KEYS": canary,
        },
    )
    assert len(told) == 4
    assert canary not in "\n".join(told)
    assert canary not in repr(
        given({"JWT_SECRET": canary, "DB_PASSWORD": canary, "OPENROUTER_API_KEY": canary})
    )


def test_remote_verification_needs_somebody_to_ask(given: Any):
    (told,) = mistakes(given, {"AUTH_VERIFY_REMOTE": "true"})
    assert told.startswith("AUTH_SERVICE_URL")
    assert given({"AUTH_VERIFY_REMOTE": "true", "AUTH_SERVICE_URL": "http://auth:3001"}).auth_verify_remote


# --- production ----------------------------------------------------------------------------------


def test_production_with_all_it_needs_is_sound(given: Any):
    assert given(_PRODUCTION).app_env == "production"
    parts = {name: value for name, value in _PRODUCTION.items() if name != "DATABASE_URL"}
    assert given({**parts, "DB_HOST": "db"}).database == "postgresql://atma_user:@db:5432/atma_db"


@pytest.mark.parametrize("name", [name for name in _PRODUCTION if name != "APP_ENV"])
def test_production_embeds_nothing(given: Any, name: str):
    for nothing in ("", " , " if name == "OPENROUTER_API_KEY" else ""):
        (told,) = mistakes(given, {**_PRODUCTION, name: nothing})
        assert told.startswith(name)
        assert told.endswith("is required in production")


@pytest.mark.parametrize("name", ["JWT_SECRET", "INTERNAL_SERVICE_KEY"])
def test_production_wants_secrets_of_32_bytes(given: Any, name: str):
    (told,) = mistakes(given, {**_PRODUCTION, name: "x" * 31})
    assert told == f"{name} must have at least 32 bytes in production"
    assert given({**_PRODUCTION, name: "é" * 16}).app_env == "production"
    assert given({name: "short"}).app_env == "development"


def test_the_tests_run_without_settings_of_whoever_runs_them():
    assert [name for name in _NAMES if name in os.environ] == []
