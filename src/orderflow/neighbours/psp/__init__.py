"""
A simulated payment provider: a neighbour, not ours. Reached over HTTP only, a process of its own.

Owns: its ledger (charges, voids, refunds) and its log of every call, two append-only files of JSON
lines.

Guarantee: an answered request is in the ledger, through kill -9 of the process: each entry is one
write before its answer. Not through a loss of power: nothing is synced to the disk. A charge with
an `Idempotency-Key` is done once within the key window; beyond the window the same key charges
again, as with real providers. A void makes that safe: it refuses every charge under a reference
that was sent before it, unless a charge is there already.

It misbehaves on purpose, by test token and at switchable rates: see `faults`. Rooms: `ledger`
(entries, and what may be entered), `provider` (calls, files, faults), `faults`, `api`, `config`.
"""
