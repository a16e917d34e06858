"""The HTTP edge of a process: serving, bodies, query parameters, problem documents, health."""
