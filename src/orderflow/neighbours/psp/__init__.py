"""
A simulated payment provider: a neighbour, not ours. Reached over HTTP only, a process of its own.

Owns: its ledger (charges, settlements, voids, refunds), its log of every call and its log of every
webhook sent, three append-only files of JSON lines.

Guarantee: an answered request is in the ledger, through kill -9 of the process: each entry is one
write before its answer. Not through a loss of power: nothing is synced to the disk. A charge with
an `Idempotency-Key` is done once within the key window; beyond the window the same key charges
again, as with real providers. A void makes that safe: it refuses every charge under a reference
that was sent before it, unless a charge is there already. A webhook is delivered at least once.

It misbehaves on purpose, by test token and by rules that can be switched: see `faults`. Rooms:
`ledger` (entries, and what may be entered), `tokens`, `provider` (calls, files), `admission` (API
key, rate limit), `faults`, `replies`, `webhooks`, `views`, `api`, `config`.
"""
