"""`orderflow bench flow`: orders through the whole flow, per second and per CPU second."""
