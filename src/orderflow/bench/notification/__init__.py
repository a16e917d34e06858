"""`orderflow bench notification`: `bench`, `report` and the baseline (`naive`)."""
