"""
Configuration from environment variables with the prefix `ORDERFLOW_`, nested with `__`.

A wrong value, or an unknown variable with that prefix, is refused at start by its name. A secret
may also be a file in the directory `ORDERFLOW_SECRETS_DIR`, named like its variable in lower case
without the prefix (`shop__database__dsn`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from orderflow.messaging.errors import ConfigurationError

PREFIX = "ORDERFLOW_"
SECRETS_DIR = f"{PREFIX}SECRETS_DIR"

Port = Annotated[int, Field(ge=1, le=65535)]


class Section(BaseModel):
    """A group of settings; an unknown name in it is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class KafkaSettings(Section):
    """How to reach the cluster. `security`: further librdkafka properties, as a JSON object."""

    bootstrap_servers: str = "127.0.0.1:19092"
    security: dict[str, str] = {}


class RegistrySettings(Section):
    """The schema registry, by the address of its Confluent-compatible interface."""

    url: str = "http://127.0.0.1:18081/apis/ccompat/v7"
    timeout_s: Annotated[float, Field(gt=0, le=15)] = 5.0


class DatabaseSettings(Section):
    """One PostgreSQL database. `dsn`: a libpq connection string or URL; it may hold a password."""

    dsn: SecretStr
    pool_size_max: Annotated[int, Field(ge=1, le=100)] = 4


class ApiSection(Section):
    """Where a process's API listens; each service has its own default port."""

    host: str = "127.0.0.1"
    port: Port


class RoleSection(Section):
    """
    Where a role without an API serves /livez, /readyz, /metrics, if it is the process's first role.

    `port` is that of worker 0; the following workers of a host have the following ports.
    """

    host: str = "127.0.0.1"
    port: Port


class RelaySection(RoleSection):
    """
    A relay. `tick_every_s`: how often it increments a counter in the database. `publisher`: who
    publishes the rows, the relay itself, or `debezium`, which then reads the relay's slot.

    Kafka remembers the last count, so a database restored from a backup is recognised by its lower
    count and refused. A backup younger than this interval goes unnoticed.
    """

    tick_every_s: Annotated[float, Field(gt=0, le=3600)] = 60.0
    publisher: Literal["relay", "debezium"] = "relay"


class TracesSection(Section):
    """
    Spans: where they go, and of how many orders.

    `exporter`: `off`, `otlp` (protobuf over HTTP) or `zipkin` (JSON, version 2). `endpoint`: the
    whole URL, if it is not that back end's usual one on this machine. `sampled`: which part of the
    orders is traced, decided once, where a trace begins. Of spans that no back end takes,
    `queue_max` are kept; more are dropped and counted.
    """

    exporter: Literal["off", "otlp", "zipkin"] = "off"
    endpoint: str = ""
    sampled: Annotated[float, Field(ge=0, le=1)] = 1.0
    queue_max: Annotated[int, Field(ge=512, le=1_000_000)] = 20_000
    export_within_s: Annotated[float, Field(gt=0, le=30)] = 5.0


class TelemetrySettings(Section):
    """
    Log lines: `json` one object a line, `text` for people, `auto` text on a terminal.

    `log_records`: a line for each record that a listener has finished. `traces`: spans.
    `measure_every_s`: how often an API measures what its database owes.
    """

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    log_records: bool = True
    traces: TracesSection = TracesSection()
    measure_every_s: Annotated[float, Field(ge=0.1, le=3600)] = 10.0


class ProcessSettings(BaseSettings):
    """The root of a process's settings; a subclass adds its own sections."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="ignore",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    kafka: KafkaSettings = KafkaSettings()
    registry: RegistrySettings = RegistrySettings()
    telemetry: TelemetrySettings = TelemetrySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        directory = os.environ.get(SECRETS_DIR)
        if directory is None:
            return init_settings, env_settings
        secrets = NestedSecretsSettingsSource(
            file_secret_settings,
            secrets_dir=directory,
            secrets_dir_missing="error",
            env_prefix="",
            secrets_nested_delimiter="__",
        )
        return init_settings, env_settings, secrets


S = TypeVar("S", bound=ProcessSettings)


def load(model: type[S], *, neighbours: Iterable[str] = ()) -> S:
    """
    The settings of this process, from its environment.

    `neighbours` are sections of other processes of the same system: they may be set, and are not
    read. Raises ConfigurationError with each variable that is unknown or wrong.
    """
    refuse_unknown(os.environ, known={*model.model_fields, *neighbours})
    try:
        return model()
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(_complaint(problem) for problem in error.errors())
        ) from error


def refuse_unknown(environment: Mapping[str, str], *, known: set[str]) -> None:
    """Raise ConfigurationError if a variable with the prefix belongs to no known section."""
    also_ours = {"failpoints", "secrets_dir"}
    strangers = [
        name
        for name in environment
        if name.upper().startswith(PREFIX)
        and name[len(PREFIX) :].lower().split("__")[0] not in known | also_ours
    ]
    if strangers:
        allowed = ", ".join(f"{PREFIX}{section.upper()}__…" for section in sorted(known))
        raise ConfigurationError(
            f"unknown setting {', '.join(sorted(strangers))}; known sections: {allowed}"
        )


def _complaint(problem: Mapping[str, Any]) -> str:
    """`ORDERFLOW_KAFKA__TIMEOUT_S: Input should be greater than 0`."""
    # Without the value, which may be a secret.
    name = PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
    return f"{name}: {problem['msg']}"
