"""The order service's HTTP edge."""
