"""The real stack, one per session."""
