"""
Avro schemas of events.

- `catalogue`: the committed versions of each type, and the types of each topic
- `compatibility`: which version breaks which reader; `conformity`: whether types and schemas agree
- `registry`: look-up and registration over HTTP; `registration`: the deploy step
- `avro`: events to bytes and back
"""
