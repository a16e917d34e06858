"""
The operations service: looks at the whole system from outside, for whoever has to keep it running.

Owns: nothing. Consumes: nothing, and is in no group. Publishes: nothing.
Its role `api` is what an operator's console stands on: how far everybody is behind, who is in which
group, which orders are stuck. Its role `observer` asks Kafka how far each group is behind, in
records and in seconds, which transactions are open for how long, and which dead letters nobody has
dealt with. It exports that as metrics, with the names that people know from Kafka's exporters. Its
role `auditor` has the books audited, and exports what differs.
Guarantee: what it exports is what it saw at most three turns ago; what it can't see is not
exported, and `/readyz` says why.
"""
