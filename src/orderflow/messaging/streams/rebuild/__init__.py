"""
The state of a topology anew from the log, beside a running service, and in its place at one moment.

What the source topic has is folded by the topology's own functions into scratch stores, and
compared with what the changelogs say. One Kafka transaction puts what differs on the changelogs,
together with the group's offsets. Until then nothing is changed, and instances answer from their
stores all the while.

| room | what is in it |
|---|---|
| `recomputation` | the tables again, from events |
| `differences` | what two states differ in, and the records that make the one the other |
| `present` | what the changelogs say, as an instance would restore it |
| `source` | the events of the source topic, as the listener would read them |
| `takeover` | the group without its instances: nobody else can commit |
| `rebuild` | the steps, in their order |
"""
