"""`orderflow bench relay`: `bench`, `report`, load (`outbox_writer`), baseline (`naive`)."""
