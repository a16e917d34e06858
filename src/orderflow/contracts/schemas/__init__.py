"""The committed schemas, by type and version. A version never changes: a change is a new one."""

from pathlib import Path

from orderflow.contracts.operator_commands import OPERATOR_COMMANDS
from orderflow.contracts.roster import TYPES_BY_TOPIC
from orderflow.messaging.schemas.catalogue import SchemaCatalogue

DIRECTORY = Path(__file__).parent

CATALOGUE = SchemaCatalogue.read(DIRECTORY, TYPES_BY_TOPIC, OPERATOR_COMMANDS)
