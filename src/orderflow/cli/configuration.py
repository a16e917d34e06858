"""The settings of commands that speak to Kafka and the registry themselves: the variables that services read too."""

from __future__ import annotations

from orderflow.contracts import SERVICES
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.settings import ProcessSettings, load

NEIGHBOURS = (*SERVICES, "stack")


class ToolSettings(ProcessSettings):
    """Where the cluster and the registry are, and how topics are made there."""

    topics: TopicSettings = TopicSettings()


def tool_settings() -> ToolSettings:
    """Raises ConfigurationError, naming the variable that is unknown or wrong."""
    return load(ToolSettings, neighbours=NEIGHBOURS)
