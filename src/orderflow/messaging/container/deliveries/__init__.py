"""
How what a handler does becomes true, together with the offsets of the records that it did it for.

`delivery` is the interface; `kafka` and `database` are the two deliveries that a listener can
declare; `transaction` is the Kafka transaction at the end of a turn, which both use.
"""
