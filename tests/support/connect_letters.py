"""
*kit*: dead letters as Kafka Connect 4.3.1 writes them: the record's own headers, then Connect's, in
its order and encoding. Written down from its `DeadLetterQueueReporter`, not from our reader.
"""

from __future__ import annotations

from collections.abc import Sequence

Headers = list[tuple[str, bytes | None]]

SINK, TOPIC = "payments-warehouse", "payments"
DLT, REPLAY = f"{TOPIC}.{SINK}.dlt", f"{TOPIC}.{SINK}.replay"
DATA_EXCEPTION = "org.apache.kafka.connect.errors.DataException"
CAUSE = "org.apache.kafka.common.errors.SerializationException"
MESSAGE = "Failed to deserialize data for topic payments to Avro: "
STACK_TRACE = f"""{DATA_EXCEPTION}: {MESSAGE}
\tat io.apicurio.registry.utils.converter.AvroConverter.toConnectData(AvroConverter.java:91)
\tat org.apache.kafka.connect.runtime.WorkerSinkTask.convertValue(WorkerSinkTask.java:529)
Caused by: {CAUSE}: Unknown magic byte!
\t... 14 more
"""


def connect_headers(
    own: Sequence[tuple[str, bytes | None]] = (),
    *,
    topic: str = TOPIC,
    partition: int = 2,
    offset: int = 41,
    connector: str = SINK,
    exception: str = DATA_EXCEPTION,
    message: str | None = MESSAGE,
    stack_trace: str = STACK_TRACE,
) -> Headers:
    """The headers of the letter of the record that was at this place, with these of its own."""
    return [
        *own,
        ("__connect.errors.topic", topic.encode()),
        ("__connect.errors.partition", str(partition).encode()),
        ("__connect.errors.offset", str(offset).encode()),
        ("__connect.errors.connector.name", connector.encode()),
        ("__connect.errors.task.id", b"0"),
        ("__connect.errors.stage", b"VALUE_CONVERTER"),
        ("__connect.errors.class.name", b"io.apicurio.registry.utils.converter.AvroConverter"),
        ("__connect.errors.exception.class.name", exception.encode()),
        ("__connect.errors.exception.message", None if message is None else message.encode()),
        ("__connect.errors.exception.stacktrace", stack_trace.encode()),
    ]
