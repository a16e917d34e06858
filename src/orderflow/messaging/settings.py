"""
Configuration from environment variables with the prefix `ORDERFLOW_`, nested with `__`.

A wrong value, or an unknown variable with that prefix, is refused at start by its name, with the
nearest name that there is. What Kubernetes gives every pod beside a Service whose name begins with
ours (`ORDERFLOW_PORT=tcp://…`, `ORDERFLOW_SERVICE_HOST`) is none of them, and passes. A secret
may also be a file in the directory `ORDERFLOW_SECRETS_DIR`, named like its variable in lower case
without the prefix (`shop__database__dsn`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
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

_ADDRESS = r"(tcp|udp|sctp)://\S+"
SERVICE_LINKS = tuple(
    re.compile(rf"{PREFIX}([A-Z0-9]+_)*{variable}={value}", re.ASCII)
    for variable, value in (
        (r"SERVICE_HOST", r"[0-9a-fA-F.:]+"),
        (r"SERVICE_PORT(_[A-Z0-9_]+)?", r"\d+"),
        (r"PORT(_\d+_(TCP|UDP|SCTP))?", _ADDRESS),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PROTO", r"(tcp|udp|sctp)"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_PORT", r"\d+"),
        (r"PORT_\d+_(TCP|UDP|SCTP)_ADDR", r"[0-9a-fA-F.:]+"),
    )
)
"""
`NAME=value` as Kubernetes makes it of a Service `orderflow` or `orderflow-…`: no name of a setting,
which has `__`. The value counts too, so that a setting with `_` for `__` is still refused.
"""

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


def load(model: type[S], *, neighbours: Iterable[str] = (), guest: bool = False) -> S:
    """
    The settings of this process, from its environment.

    `neighbours` are sections of other processes of the same system: they may be set, and are not
    read. A `guest` does not know its neighbours: only what resembles a section of its own is
    unknown to it. Raises ConfigurationError with each variable that is missing, unknown or wrong.
    """
    refuse_unknown(os.environ, known={*model.model_fields, *neighbours}, guest=guest)
    try:
        return model()
    except ValidationError as error:
        settings = dict(setting_names(model))
        raise ConfigurationError(
            "; ".join(_complaint(problem, settings) for problem in error.errors())
        ) from error


def setting_names(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[tuple[str, bool]]:
    """The variable of each setting of a model and its sections, and whether it is required."""
    roles = getattr(model, "ports", {})
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            for setting, is_required in setting_names(kind, f"{prefix}{name.upper()}__"):
                # A role's port has a default in the section above it.
                has_default = name in roles and setting.endswith(f"{name.upper()}__PORT")
                yield setting, is_required and not has_default
        else:
            yield f"{prefix}{name.upper()}", field.is_required()


def refuse_unknown(environment: Mapping[str, str], *, known: set[str], guest: bool = False) -> None:
    """
    Raise ConfigurationError if a variable with the prefix belongs to no known section; for a
    `guest`, if its section resembles a known one.
    """
    also_ours = {"failpoints", "secrets_dir"}
    strangers = [
        name
        for name, value in environment.items()
        if name.upper().startswith(PREFIX)
        and _section_of(name) not in known | also_ours
        and not is_service_link(name, value)
        and not (guest and not _did_you_mean([name], known))
    ]

    if strangers:
        strangers.sort()
        allowed = ", ".join(f"{PREFIX}{section.upper()}__…" for section in sorted(known))
        raise ConfigurationError(
            f"unknown setting {', '.join(strangers)}{_did_you_mean(strangers, known)}; "
            f"known sections: {allowed}"
        )


def is_service_link(name: str, value: str) -> bool:
    """Whether Kubernetes made this variable, of a Service whose name begins with ours."""
    return any(link.fullmatch(f"{name}={value}") for link in SERVICE_LINKS)


def _section_of(name: str) -> str:
    return name[len(PREFIX) :].lower().split("__")[0]


def _did_you_mean(strangers: Iterable[str], known: Iterable[str]) -> str:
    sections = {_section_of(name) for name in strangers}
    near = [match for name in sections for match in get_close_matches(name, known, 1, 0.7)]
    names = " or ".join(f"{PREFIX}{section.upper()}__…" for section in sorted(set(near)))
    return f" (did you mean {names}?)" if near else ""


def _complaint(problem: Mapping[str, Any], settings: Mapping[str, bool]) -> str:
    """`ORDERFLOW_KAFKA__TIMEOUT_S: Input should be greater than 0`."""
    # Without the value, which may be a secret.
    name = PREFIX + "__".join(str(part) for part in problem["loc"]).upper()
    if problem["type"] == "extra_forbidden":
        near = get_close_matches(name, settings, 1)
        return f"{name}: there is no such setting{f' (did you mean {near[0]}?)' if near else ''}"

    if problem["type"] == "missing":
        # A section without any value is missing as a whole.
        required = (
            setting
            for setting, is_required in settings.items()
            if is_required and (setting == name or setting.startswith(f"{name}__"))
        )
        return f"{', '.join(required) or name} is required, and not set"
    return f"{name}: {problem['msg']}"
