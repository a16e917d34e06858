"""Settings of commands that connect to Kafka and the registry: the variables of the services."""

from __future__ import annotations

from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.settings import ProcessSettings, load
from orderflow.stack.lifecycle import current
from orderflow.stack.parts import kafka, registry


class ToolSettings(ProcessSettings):
    """Where the cluster and the registry are, and how topics are made there."""

    topics: TopicSettings = TopicSettings()


def tool_settings() -> ToolSettings:
    """
    The settings of this command; an address that is not set is that of this checkout's local stack.

    Raises ConfigurationError, naming the variable that is unknown or wrong.
    """
    settings, local = load(ToolSettings, neighbours=SECTIONS), current()
    defaults: dict[str, object] = {}
    if "bootstrap_servers" not in settings.kafka.model_fields_set:
        defaults["kafka"] = settings.kafka.model_copy(
            update={"bootstrap_servers": kafka.bootstrap_servers(local)}
        )
    if "url" not in settings.registry.model_fields_set:
        defaults["registry"] = settings.registry.model_copy(update={"url": registry.url(local)})
    return settings.model_copy(update=defaults)
