"""A service of another team that consumes the life-cycle feed: a listener table and a handler."""
