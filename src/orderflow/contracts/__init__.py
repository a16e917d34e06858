"""The published language: event types, their schemas by version, topics, ids. Whoever speaks with us reads this."""

from uuid import NAMESPACE_DNS, uuid5

NAMESPACE = uuid5(NAMESPACE_DNS, "orderflow")
"""The namespace of every derived id. Frozen: a golden test fails if it moves."""

SERVICES = ("order", "payment", "inventory", "notification", "fulfilment", "analytics", "revenue")
"""Every service's name; each may have a section of its own among the settings (`ORDERFLOW_<SERVICE>__…`)."""

SECTIONS = (*SERVICES, "psp", "mail", "stack", "topics")
"""Every top-level section among the settings: whoever reads its own lets the others stand beside it."""
