"""
Kafka: the only room that imports confluent_kafka.

- `clients`: producers and consumers with the settings that the guarantees rest on
- `transactions`: one transactional producer; what each of its errors means
- `topics`: topics as values, and the plan for a cluster; `group_topics`: those of one group
- `admin`: reads and changes a cluster's topics
- `finished_offsets`: records finished out of order, in the metadata of a committed offset
- `lag`: how far groups are behind; `progress`: whether one group has finished what was there
- `reader`: a topic's records, for tools; `groups`: a group's start and end, for tools
- `headers`: a record's headers, which anybody may have written
"""
