"""Documents written from tables and types: OpenAPI of the HTTP APIs, AsyncAPI of the topics."""
