"""Settings: environment variables (and `.env` in the working directory), checked once, at start.

Every field is one variable, named in capitals; `.env.example` has a line for each. All mistakes are
reported together, by name, as `SettingsError`. Only the roof reads this module.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Strings = Annotated[tuple[str, ...], NoDecode]
Seconds = Annotated[float, Field(gt=0, le=86400)]
Waits = Annotated[tuple[Seconds, ...], NoDecode]
Count = Annotated[int, Field(ge=0, le=1_000_000_000)]

_MIN_SECRET_BYTES = 32
_KEY_BYTES = 32
_LAST_PORT = 65535
_SPACE, _DELETE = 0x20, 0x7F
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%\w]+\]|[^:\[\]\s]*)(?::(?P<port>[0-9]{0,5}))?")
_SCHEMES = {
    "database_url": ("postgresql", "postgres"),
    "database_admin_url": ("postgresql", "postgres"),
    "database_read_url": ("postgresql", "postgres"),
    "redis_url": ("redis", "rediss", "redis+sentinel", "redis+cluster"),
    "rabbitmq_url": ("amqp", "amqps"),
    "openrouter_base_url": ("http", "https"),
    "public_url": ("http", "https"),
    "auth_service_url": ("http", "https"),
    "assessment_service_url": ("http", "https"),
    "archive_service_url": ("http", "https"),
    "notification_service_url": ("http", "https"),
    "otel_exporter_otlp_endpoint": ("http", "https"),
}


class SettingsError(Exception):
    """The configuration is wrong; one line per mistake, each naming its variable."""

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class Settings(BaseSettings):
    """One node's configuration. Defaults and meanings: the README's table of settings."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", env_ignore_empty=True, extra="ignore", frozen=True
    )

    # server
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 3006
    app_env: Literal["development", "production"] = "development"
    node_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{0,64}$")] = ""
    allowed_origins: Strings = ()
    public_url: str = ""
    trusted_proxies: Strings = ()
    log_level: Literal["debug", "info", "warning", "error", "critical"] = "info"
    log_format: Literal["json", "console"] = "json"
    log_file: str = ""
    enable_metrics: bool = True
    otel_exporter_otlp_endpoint: str = ""
    embedded_data_dir: Path = Path("./.data")

    # database
    database_url: SecretStr | None = None
    db_host: str = ""
    db_port: Annotated[int, Field(ge=1, le=65535)] = 5432
    db_name: str = "atma_db"
    db_user: str = "atma_user"
    db_password: SecretStr = SecretStr("")
    db_schema: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "chat"
    db_pool_min: Annotated[int, Field(ge=0, le=1000)] = 5
    db_pool_max: Annotated[int, Field(ge=1, le=1000)] = 20
    database_read_url: SecretStr | None = None
    database_admin_url: SecretStr | None = None

    # redis
    redis_url: SecretStr | None = None
    log_window_events: Annotated[int, Field(ge=1, le=100_000)] = 1000
    log_window_hours: Annotated[float, Field(gt=0, le=720)] = 24
    text_window_minutes: Annotated[float, Field(gt=0, le=1440)] = 10

    # openrouter
    openrouter_api_key: SecretStr | None = None
    openrouter_base_url: str = "https://openrouter.ai/api/v1"
    http_referer: str = "https://atma.chhrone.web.id"
    x_title: str = "ATMA - AI Talent Mapping"
    default_model: str = "qwen/qwen3-235b-a22b-07-25:free"
    fallback_model: str = "meta-llama/llama-3.2-3b-instruct:free"
    extra_fallback_models: Strings = ("openrouter/free",)
    emergency_fallback_model: str = "openai/gpt-4o-mini"
    use_free_models_only: bool = True
    model_cooldown_seconds: Annotated[float, Field(ge=0, le=86400)] = 15
    premium_models: Strings = ()
    premium_models_for: Literal["all", "complex"] = "all"
    max_tokens: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.7
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 4

    # clocks
    connect_timeout_seconds: Seconds = 5
    first_token_timeout_seconds: Seconds = 20
    stall_timeout_seconds: Seconds = 20
    generation_timeout_seconds: Seconds = 180
    interim_after_seconds: Seconds = 10
    interim_every_seconds: Seconds = 10
    rest_wait_seconds: Seconds = 50
    heartbeat_seconds: Seconds = 25
    lease_seconds: Seconds = 6
    slow_reader_seconds: Seconds = 30
    auth_grace_seconds: Annotated[float, Field(ge=0, le=86400)] = 25
    drain_seconds: Annotated[float, Field(ge=0, le=86400)] = 20
    seam_hold_seconds: Annotated[float, Field(ge=0, le=60)] = 0.7
    seam_hold_chars: Annotated[int, Field(ge=0, le=100_000)] = 200

    # limits
    rate_limit_messages_per_hour: Count = 200
    rate_limit_conversations_per_day: Count = 100
    free_model_rate_limit_per_minute: Count = 20
    api_rate_limit_per_15_minutes: Count = 1000
    max_message_length: Annotated[int, Field(ge=0, le=60_000)] = 4000
    max_conversation_history_tokens: Annotated[int, Field(ge=0, le=10_000_000)] = 6000
    max_sessions_per_user: Count = 10
    max_generations_per_user: Count = 3

    # rabbitmq
    rabbitmq_url: SecretStr | None = None
    events_exchange_name: str = "atma_events_exchange"
    chat_queue_name: str = "chatbot_analysis_events"
    consumer_prefetch: Annotated[int, Field(ge=1, le=65535)] = 10
    consumer_max_attempts: Annotated[int, Field(ge=1, le=1000)] = 5
    consumer_retry_seconds: Waits = (1.0, 5.0, 15.0, 60.0)

    # neighbours
    auth_service_url: str = ""
    assessment_service_url: str = ""
    archive_service_url: str = ""
    notification_service_url: str = ""
    auth_verify_remote: bool = False

    # security
    jwt_secret: SecretStr | None = None
    internal_service_key: SecretStr | None = None
    content_encryption_keys: Annotated[tuple[SecretStr, ...], NoDecode] = ()
    retention_days: Annotated[int, Field(ge=1, le=36500)] = 365
    content_filter: Literal["flag", "block", "off"] = "flag"

    @field_validator(
        "allowed_origins",
        "trusted_proxies",
        "extra_fallback_models",
        "premium_models",
        "consumer_retry_seconds",
        "content_encryption_keys",
        mode="before",
    )
    @classmethod
    def _comma_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _in_any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            ipaddress.ip_network(each, strict=False)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parts = urlsplit(each)
            if parts.scheme not in {"http", "https"} or not parts.netloc or parts.path not in {"", "/"}:
                raise ValueError(f"{each!r} is no origin (scheme://host[:port])")
        return tuple(each.rstrip("/").lower() for each in value)

    @field_validator("consumer_retry_seconds")
    @classmethod
    def _waits(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value:
            raise ValueError("must have at least one number of seconds")
        return value

    @field_validator("content_encryption_keys")
    @classmethod
    def _keys(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for number, key in enumerate(value, 1):
            try:
                size = len(base64.b64decode(key.get_secret_value(), validate=True))
            except (binascii.Error, ValueError) as error:
                raise ValueError(f"key {number} is not base64") from error
            if size != _KEY_BYTES:
                raise ValueError(f"key {number} has {size} bytes, not {_KEY_BYTES}")
        return value

    @field_validator(*_SCHEMES)
    @classmethod
    def _urls(cls, value: Any, info: Any) -> Any:
        text = value.get_secret_value() if isinstance(value, SecretStr) else value
        if text:
            allowed = _SCHEMES[info.field_name]
            scheme, found, rest = text.partition("://")
            if not found or not rest or scheme not in allowed:
                raise ValueError(f"must be a URL beginning with {' or '.join(s + '://' for s in allowed)}")
            for host in re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].split(","):
                match = _HOST.fullmatch(host)
                if match is None or int(match["port"] or 0) > _LAST_PORT:
                    raise ValueError("the host or the port in it cannot be read")
        return value

    @field_validator("log_file")
    @classmethod
    def _writable(cls, value: str) -> str:
        path = Path(value)
        if value and (path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK)):
            raise ValueError("cannot be written there")
        return value

    @field_validator("http_referer", "x_title")
    @classmethod
    def _headers(cls, value: str) -> str:
        if any(ord(character) < _SPACE or ord(character) == _DELETE for character in value):
            raise ValueError("must not hold control characters: it is sent as a header")
        return value

    @field_validator("openrouter_api_key")
    @classmethod
    def _header_keys(cls, value: SecretStr | None) -> SecretStr | None:
        # a secret read from a file often ends with a line break, which is taken off
        keys = [] if value is None else [key.strip() for key in value.get_secret_value().split(",")]
        if not all(_SPACE <= ord(each) < _DELETE for key in keys for each in key):
            raise ValueError("must hold printable ASCII only: it is sent as a header")
        return value

    @field_validator("db_schema")
    @classmethod
    def _own_schema(cls, value: str) -> str:
        if value.startswith("pg_"):
            raise ValueError("must not begin with pg_: PostgreSQL keeps such names for itself")
        return value

    @model_validator(mode="after")
    def _together(self) -> Settings:
        mistakes = []
        if self.db_pool_min > self.db_pool_max:
            mistakes.append("DB_POOL_MIN is greater than DB_POOL_MAX")
        if self.auth_verify_remote and not self.auth_service_url:
            mistakes.append("AUTH_SERVICE_URL is required with AUTH_VERIFY_REMOTE")
        if self.app_env == "production":
            mistakes += self._missing_in_production()
        if mistakes:
            raise ValueError("; ".join(mistakes))
        return self

    def _missing_in_production(self) -> list[str]:
        needed = {
            "DATABASE_URL (or DB_HOST)": self.database_url or self.db_host,
            "REDIS_URL": self.redis_url,
            "OPENROUTER_API_KEY": self.openrouter_keys,
            "JWT_SECRET": self.jwt_secret,
            "INTERNAL_SERVICE_KEY": self.internal_service_key,
        }
        mistakes = [f"{name} is required in production" for name, value in needed.items() if not value]
        secrets = (("JWT_SECRET", self.jwt_secret), ("INTERNAL_SERVICE_KEY", self.internal_service_key))
        for name, secret in secrets:
            if secret and len(secret.get_secret_value().encode()) < _MIN_SECRET_BYTES:
                mistakes.append(f"{name} must have at least {_MIN_SECRET_BYTES} bytes in production")
        return mistakes

    @property
    def database(self) -> str | None:
        """The database URL, from `DATABASE_URL` or from the `DB_*` parts; `None`: embedded."""
        if self.database_url:
            return self.database_url.get_secret_value()
        if not self.db_host:
            return None
        password = quote(self.db_password.get_secret_value(), safe="")
        return (
            f"postgresql://{quote(self.db_user, safe='')}:{password}"
            f"@{self.db_host}:{self.db_port}/{quote(self.db_name, safe='')}"
        )

    @property
    def openrouter_keys(self) -> tuple[str, ...]:
        """The API keys, in rotation order."""
        if self.openrouter_api_key is None:
            return ()
        parts = self.openrouter_api_key.get_secret_value().split(",")
        return tuple(part.strip() for part in parts if part.strip())


def load(**overrides: Any) -> Settings:
    """Read and check the settings.

    Raises:
        SettingsError: with every mistake, by the name of its variable. Values are not repeated.
    """
    try:
        return Settings(**overrides)
    except UnicodeDecodeError as error:
        raise SettingsError([f".env: is not UTF-8 (byte {error.start})"]) from error
    except ValidationError as error:
        faults = error.errors(include_input=False)
    mistakes = [line for fault in faults for line in _lines(fault)]
    # what belongs together is only looked at when each field is sound: look again with defaults
    unsound = {str(fault["loc"][0]) for fault in faults if fault["loc"]}
    sound = {name: Settings.model_fields[name].default for name in unsound}
    try:
        if sound:
            Settings(**{**overrides, **sound})
    except ValidationError as error:
        together = [line for fault in error.errors(include_input=False) for line in _lines(fault)]
        # one that was there, and wrong, is not missing as well
        mistakes += [line for line in together if line.split()[0].lower() not in unsound]
    raise SettingsError(mistakes)


def _lines(fault: Any) -> list[str]:
    message = str(fault["msg"]).removeprefix("Value error, ")
    where = ".".join(str(part) for part in fault["loc"]).upper()
    return [f"{where}: {message}"] if where else message.split("; ")
