"""`orderflow demo`: place a few orders and show them arrive."""
