"""Documents made from types and listeners: `openapi` of an HTTP API, `asyncapi` of the topics."""
