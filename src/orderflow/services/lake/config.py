"""The lake exporter's settings."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, SecretStr

from orderflow.contracts import roster
from orderflow.messaging.process.settings import RolesSection
from orderflow.messaging.settings import ProcessSettings, RoleSection, Section


class StoreSection(Section):
    """
    Where the lake is: `file:///directory` or `s3://bucket/prefix`.

    The rest is for S3 alone. `endpoint`: the address of a store that is not Amazon's. Without keys
    the environment's own are taken (`AWS_ACCESS_KEY_ID`, a role). `timeout_s`: of one request.
    """

    url: str = "file:.orderflow/lake"
    endpoint: str = ""
    region: str = "us-east-1"
    access_key_id: str = ""
    secret_access_key: SecretStr = SecretStr("")
    timeout_s: Annotated[float, Field(gt=0, le=60)] = 10.0


class LakeSettings(RolesSection):
    """
    `block_offsets`: how many offsets of a partition share the objects of one name; never change it
    for a lake that has objects. Rows are written when `flush_records` are there, or `flush_s` have
    passed. `session_s`: after so long without a sign of life a slot's partitions go to the others.
    """

    ports: ClassVar = roster.row("lake").ports

    exporter: RoleSection
    store: StoreSection = StoreSection()
    block_offsets: Annotated[int, Field(ge=100, le=1_000_000)] = 10_000
    flush_records: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    session_s: Annotated[float, Field(ge=6, le=300)] = 15.0
    flush_s: Annotated[float, Field(ge=0, le=60)] = 5.0


class Settings(ProcessSettings):
    lake: LakeSettings
