"""
What the local stack is made of: real Kafka, PostgreSQL, the registry, and our own processes.

Rooms: `kafka`, `postgres`, `registry`, `services`; `java` (the runtime), `jars` (where the Java
parts are), `fetch` and `download` (how they get there).
"""
