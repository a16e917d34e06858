"""
A service as a process: its roles as threads, one HTTP port, one command line.

`service`: a service as a value, and how it runs; `roles`: the API, listener and relay that services
are made of; `role`: a worker of one's own; `settings`: the sections that a service's settings have;
`prerequisites`: waiting for what is missing at start; `follower`: a service in one call.
"""
