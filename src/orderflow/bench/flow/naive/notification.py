"""
`python -m orderflow.bench.flow.naive.notification TASK`: one database transaction, in which one
mail is sent over a connection of its own, a record.
"""

from __future__ import annotations

import smtplib
import sys
from email.message import EmailMessage

import msgspec

from orderflow.bench.flow.naive.parts import (
    BOXES,
    NOTIFICATIONS,
    ORDERS,
    PAYMENTS,
    Fact,
    Task,
    append,
    claim,
    records,
    subscribe,
)
from orderflow.bench.service_data import open_connection
from orderflow.messaging.postgres import Cursor

TABLES = f"""
CREATE TABLE notification (
    order_id text NOT NULL, kind text NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (order_id, kind));
{BOXES}
"""
KEEP = "INSERT INTO notification (order_id, kind) VALUES (%s, %s)"
WORDS = {ORDERS: "was received", PAYMENTS: "is paid"}


def send(port: int, fact: Fact, words: str) -> None:
    mail = EmailMessage()
    mail["From"], mail["To"] = "shop@naive.example", f"{fact.customer_id}@naive.example"
    mail["Subject"] = f"Your order {fact.order_id} {words}"
    mail.set_content("Hello,\n\nthank you.\n\nThe shop\n")

    with smtplib.SMTP("127.0.0.1", port) as server:
        server.send_message(mail)


def handle(cursor: Cursor, fact: Fact, words: str, port: int) -> None:
    cursor.execute(KEEP, (fact.order_id, words))
    send(port, fact, words)
    append(cursor, NOTIFICATIONS, "NotificationSent", fact)


def main(task: Task) -> None:
    consumer = subscribe(task, "naive-notification", ORDERS, PAYMENTS)
    with open_connection(task.dsn) as connection:
        for record in records(consumer):
            words = WORDS[record.message.topic()]
            with connection.transaction(), connection.cursor() as cursor:
                if claim(cursor, record):
                    handle(cursor, record.fact, words, task.smtp_port)
            consumer.commit(message=record.message, asynchronous=True)


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Task))
