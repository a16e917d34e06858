"""
The published language: whatever speaks with the system reads this, and nothing else of ours.

`events`: the types; `schemas`: their Avro schemas by version; `topics`: where they are published;
`roster`: which service listens to what and publishes what; `ids`: identifiers and how they derive;
`operator_commands`: the commands that messages name.
"""

from uuid import NAMESPACE_DNS, uuid5

NAMESPACE = uuid5(NAMESPACE_DNS, "orderflow")
"""The namespace of every derived id. Frozen: a golden test fails if it moves."""
