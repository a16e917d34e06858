"""
Configuration: environment variables with the prefix `ORDERFLOW_`, nested with `__`, secrets also from files.

A wrong value, and a variable with our prefix that nobody knows, are refused at start with their names. Secrets: a file
named like the variable in lower case without prefix (`order__database__dsn`) in the directory that
`ORDERFLOW_SECRETS_DIR` names.
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
    """How to reach the cluster. `security` holds further client properties, by their librdkafka names, as JSON."""

    bootstrap_servers: str = "127.0.0.1:19092"
    security: dict[str, str] = {}


class RegistrySettings(Section):
    """The schema registry, by its Confluent-compatible address."""

    url: str = "http://127.0.0.1:18081/apis/ccompat/v7"
    timeout_s: Annotated[float, Field(gt=0)] = 5.0


class DatabaseSettings(Section):
    """One PostgreSQL database. `dsn` is a libpq connection string or URL, a secret because it may hold a password."""

    dsn: SecretStr
    pool_size_max: Annotated[int, Field(ge=1, le=100)] = 4


class ApiSection(Section):
    """Where a process's API listens; a service sets its own port."""

    host: str = "127.0.0.1"
    port: Port


class RoleSection(Section):
    """
    Where a role without an API answers /livez, /readyz and /metrics, if it is the first of its process.

    Workers of one host have neighbouring ports: `port` is that of slot 0.
    """

    host: str = "127.0.0.1"
    port: Port


class RelaySection(RoleSection):
    """
    A relay, and how often its database counts on.

    An older copy of the database is noticed if such a count lies between: one younger than `tick_every_s` is not.
    """

    tick_every_s: Annotated[float, Field(gt=0, le=3600)] = 60.0


class TelemetrySettings(Section):
    """
    Logs: `json` one object a line, `text` for people, `auto` text on a terminal.

    `log_records`: a line for each record that a listener is done with.
    """

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "json", "text"] = "auto"
    log_records: bool = True


class ProcessSettings(BaseSettings):
    """The root of a process's settings; subclasses add their own sections."""

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

    `neighbours` are top-level names that belong to other processes of the same system: they may be set, and are not
    read. Raises ConfigurationError, naming each variable that is unknown or wrong.
    """
    refuse_unknown(os.environ, known={*model.model_fields, *neighbours})
    try:
        return model()
    except ValidationError as error:
        raise ConfigurationError(
            "; ".join(_complaint(problem) for problem in error.errors())
        ) from error


def refuse_unknown(environment: Mapping[str, str], *, known: set[str]) -> None:
    """Raise ConfigurationError if a variable with our prefix belongs to no known section."""
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
    """`ORDERFLOW_KAFKA__TIMEOUT_S: Input should be greater than 0`; the value is left out, it may be a secret."""
    name = PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
    return f"{name}: {problem['msg']}"
