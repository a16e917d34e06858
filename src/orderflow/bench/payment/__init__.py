"""`orderflow bench payment`: `bench`, `report`, ours (`worker`), the baseline (`naive`)."""
