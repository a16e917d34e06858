"""The committed schemas, by type and version. A version never changes: a change is a new one."""

from pathlib import Path

from orderflow.contracts.roster import TYPES_BY_TOPIC
from orderflow.messaging.schemas.catalogue import Catalogue

DIRECTORY = Path(__file__).parent

CATALOGUE = Catalogue.read(DIRECTORY, TYPES_BY_TOPIC)
