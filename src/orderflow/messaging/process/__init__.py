"""A service's process: its roles as threads, one HTTP port, one command line."""
