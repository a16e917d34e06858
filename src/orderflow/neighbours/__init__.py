"""
Simulated neighbours of ours, reached over HTTP and SMTP only, each a process of its own.

Rooms: `psp` (a payment provider), `mail` (a mail sink), `journal` (the file format of both).
"""
