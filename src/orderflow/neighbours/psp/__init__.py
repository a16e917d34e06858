"""
A simulated payment provider: a neighbour, not ours. Reached over HTTP only, a process of its own.

Owns: its ledger (charges, voids, refunds) and its log of every call, two append-only files of JSON lines.
Guarantee: what was answered is in the ledger, through kill -9 of the process: each entry is one write before its
answer. Not through a loss of power: nothing is synced to the disk. A charge with an `Idempotency-Key` that is known for
less than the key window is done once; beyond the window the same key charges again, as real providers do. A void makes
that safe: it ends whatever may still be on its way under a reference, unless a charge is there already.
It misbehaves on purpose, by test token and at switchable rates: see `faults`.
"""
