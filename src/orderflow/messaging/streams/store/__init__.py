"""
State stores.

| room | what is in it |
|---|---|
| `store` | the interface |
| `sqlite_store` | one SQLite file for each table and partition |
| `memory_store` | the twin in memory, which passes the same tests |
"""
