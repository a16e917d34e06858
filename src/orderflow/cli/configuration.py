"""Settings of commands that connect to Kafka and the registry: the variables of the services."""

from __future__ import annotations

from orderflow.cli.local import Server, refuse_away
from orderflow.contracts.roster import SECTIONS
from orderflow.messaging.kafka.topics import TopicSettings
from orderflow.messaging.settings import ProcessSettings, load
from orderflow.stack.lifecycle import current
from orderflow.stack.parts import kafka, registry
from orderflow.stack.settings import StackSettings


class ToolSettings(ProcessSettings):
    """Where the cluster and the registry are, and how topics are made there."""

    topics: TopicSettings = TopicSettings()


def tool_settings(
    needs: Server | None = "kafka", *, waits: bool = False, of: StackSettings | None = None
) -> ToolSettings:
    """
    The settings of this command; an address that is not set is that of this checkout's local stack.

    `of`: the instance whose addresses are meant, whatever is set. `needs`: the server that the
    command asks; if its address is not set, it is refused at once where the local one is away,
    unless the command `waits` for it. Raises NotRunning or OrderflowError then, and
    ConfigurationError, naming the variable that is unknown or wrong.
    """
    settings, local = load(ToolSettings, neighbours=SECTIONS), of or current()
    is_elsewhere = {
        "kafka": of is None and "bootstrap_servers" in settings.kafka.model_fields_set,
        "registry": of is None and "url" in settings.registry.model_fields_set,
    }
    if needs is not None and not is_elsewhere.get(needs, False):
        refuse_away(local, needs, waits=waits)

    defaults: dict[str, object] = {}
    if not is_elsewhere["kafka"]:
        defaults["kafka"] = settings.kafka.model_copy(
            update={"bootstrap_servers": kafka.bootstrap_servers(local)}
        )
    if not is_elsewhere["registry"]:
        defaults["registry"] = settings.registry.model_copy(update={"url": registry.url(local)})
    return settings.model_copy(update=defaults)
