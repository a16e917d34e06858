"""
The baseline of `bench notification`: what one writes first.

`python -m orderflow.bench.notification.naive JSON`. Polls a record, and in one database transaction
inserts the notification, sends the mail with the standard library and updates the notification;
then the offset, without waiting for it. Its table is its own.
"""

from __future__ import annotations

import smtplib
import sys
from email.message import EmailMessage

import msgspec

from orderflow.bench.naive_consumer import Input, messages, open_consumer
from orderflow.bench.service_data import open_connection
from orderflow.contracts.events import OrderCreated
from orderflow.contracts.topics import ORDERS
from orderflow.messaging.event import from_headers
from orderflow.messaging.postgres import Connection
from orderflow.messaging.schemas.avro import Decoder
from orderflow.messaging.schemas.registry import Registry

TABLE = """
CREATE TABLE IF NOT EXISTS told (
    event_id uuid PRIMARY KEY, customer_id text NOT NULL, sent_at timestamptz
)
"""
NOTE = "INSERT INTO told VALUES (%s, %s) ON CONFLICT DO NOTHING"
DONE = "UPDATE told SET sent_at = now() WHERE event_id = %s"


class Task(Input, frozen=True, kw_only=True):
    dsn: str
    smtp_host: str
    smtp_port: int


def count_sent(connection: Connection) -> int:
    """How many mails it has sent; 0 before it has its table."""
    if connection.execute("SELECT to_regclass('told')").fetchone() == (None,):
        return 0
    row = connection.execute("SELECT count(*) FROM told WHERE sent_at IS NOT NULL").fetchone()
    return int(row[0]) if row else 0


def mail(event_id: str, event: OrderCreated) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "orders@orderflow.localhost"
    message["To"] = f"{event.customer_id}@customers.localhost"
    message["Subject"] = f"Your order {event.order_id} was received"
    message["Message-ID"] = f"<naive-{event_id}@orderflow.localhost>"
    message.set_content("Hello,\n\nThank you: we have your order.\n")
    return message


def main(task: Task) -> None:
    decoder = Decoder(Registry(task.registry))
    consumer = open_consumer(task, ORDERS.name)

    with open_connection(task.dsn) as connection:
        connection.execute(TABLE)
        smtp = smtplib.SMTP(task.smtp_host, task.smtp_port)
        for message in messages(consumer):
            event_id = from_headers(message.headers()).id
            event = decoder.decode_as(message.value(), OrderCreated)
            with connection.transaction():
                if connection.execute(NOTE, (event_id, event.customer_id)).rowcount:
                    smtp.send_message(mail(str(event_id), event))
                    connection.execute(DONE, (event_id,))
            consumer.commit(message=message, asynchronous=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task, strict=False))
