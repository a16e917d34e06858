"""
The HTTP edge of a process, and its way to others.

`server`: one application on one socket, started and stopped; `bounded_protocol`: connections that
have an end; `routing`: what every route keeps to; `api`: what every API has in common;
`health`: liveness, readiness and metrics; `measured`: how long requests take; `bodies`,
`parameters`, `pages`: reading requests and answering a page at a time; `problems`: problem
documents; `client`: calls that have an end.
"""
