"""The commands of `orderflow` that the kit's messages name."""

from orderflow.messaging.errors import OperatorCommands

OPERATOR_COMMANDS = OperatorCommands(
    resync="`orderflow relay resync {service}`",
    stop_relay=(
        "stop it first, on the local stack with `orderflow stop {service}-relay`, "
        "or `orderflow stop connect` where Debezium publishes"
    ),
    apply_topics="`orderflow topics apply`",
    apply_schemas="`orderflow schemas apply`",
    check_schemas="`orderflow schemas check`",
    held_rows="`orderflow relay held list {service}`",
)
