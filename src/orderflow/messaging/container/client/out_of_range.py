"""
What to do when a partition's log does not have the offset at which its group stands.

The broker's refusal of that offset is the proof; the first offset that the log has says of what:

| the group stands | what happened | what is done |
|---|---|---|
| below the first offset | records were deleted unread | they are counted; it goes on at the first |
| above it | the log was cut or begun anew, or the group moved | all that is there is read again |

In the second case what the group knows is about another log, so it is forgotten. Reading all
again loses nothing: the inbox, or a recorded intent, absorbs what had its effect. A client that
reset the offset by itself would drop records in silence.
"""

from __future__ import annotations

from orderflow.messaging.container.records.partition import Partition, begun_anew
from orderflow.messaging.telemetry import counter, logger

OFFSETS_GONE = counter(
    "listener_offsets_gone",
    "Offsets that were deleted from a log before the group had finished them.",
    ("listener",),
)
LOGS_BEGUN_ANEW = counter(
    "listener_logs_begun_anew",
    "Times that a log ended before the group's offset, so that all of it was read again.",
    ("listener",),
)

log = logger("listener")


def place_again(listener: str, partition: Partition, *, first: int, end: int) -> Partition:
    """
    The state to go on with at offset `first`, the first that the log has; `end` is where it ends.

    It is `partition` itself, without what was deleted, or a new one in its place.
    """
    where, position = f"{partition.topic}-{partition.number}", partition.position
    if position < first:
        gone = partition.skip_to(first)
        OFFSETS_GONE.labels(listener).inc(gone)
        if gone:
            log.error(
                "records were deleted before this group had read them",
                listener=listener,
                partition=where,
                position=position,
                first=first,
                offsets_gone=gone,
            )
        return partition

    LOGS_BEGUN_ANEW.labels(listener).inc()
    log.error(
        "the log ends before the group's offset: it was cut, begun anew, or the group was moved; "
        "all of it is read again",
        listener=listener,
        partition=where,
        position=position,
        first=first,
        end=end,
    )
    return begun_anew(partition, first=first)
