"""`orderflow bench post`: `bench`, `report`, the load (`closed_loop`), the baseline (`naive`)."""
