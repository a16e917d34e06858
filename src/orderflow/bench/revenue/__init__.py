"""`orderflow bench revenue`: `bench`, `report`, `backlog`, ours (`worker`), baseline (`naive`)."""
