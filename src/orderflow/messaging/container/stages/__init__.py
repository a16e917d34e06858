"""
The stages of a turn between poll and commit, in their order.

| room | what is in it |
|---|---|
| `admission`, `intake` | from fetched to queued; from bytes to what a handler gets |
| `look_ahead` | what is queued behind a record, shown before its effect is intended |
| `prepare_stage` | the stage of `Prepare`: effects outside, intended, done, recorded |
| `waves` | ready records meet their handler, in waves of different keys |
| `publisher` | what a handler returned, as records or outbox rows |
| `gates` | which stages are closed, and why |
"""
