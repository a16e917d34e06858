"""`orderflow bench copies`: `bench`, `paced`, `report`; baselines `naive`, `one_file`."""
