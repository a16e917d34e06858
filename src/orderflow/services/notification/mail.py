"""
A letter as a mail: the same bytes whenever it is sent, by whichever worker.

Written by hand, in ASCII throughout: the standard library's message takes a millisecond, more than
the rest of a notification's way. Text that is not plain ASCII goes as base64; ids stand in headers
percent-encoded. Source: RFC 5322.
"""

from __future__ import annotations

import base64
import re
from email.utils import format_datetime
from urllib.parse import quote
from uuid import NAMESPACE_URL, uuid5

from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.model import Letter

LOCAL_PART_MAX = 64
LINE_MAX = 900
SUBJECT_MAX = 150

_PLAIN_LOCAL_PART = re.compile(r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*")
_PLAIN_TEXT = re.compile(rf"([\x20-\x7e]{{0,{LINE_MAX}}}\n)*")
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


def message_id(letter: Letter, settings: SmtpSettings) -> str:
    """The notification's id, and nothing of the attempt: the mailbox recognises repeats by it."""
    return f"<{letter.notification_id}@{_domain(settings)}>"


def recipient(customer_id: str, settings: SmtpSettings) -> str:
    """
    The customer's address: the id, with `=41` for characters that cannot stand in an address.

    An id too long for a local part is replaced by a hash. No two customers share an address.
    """
    local = customer_id if _PLAIN_LOCAL_PART.fullmatch(customer_id) else _escaped(customer_id)
    address = settings.recipient.replace("{customer}", local)
    if len(address.rpartition("@")[0]) > LOCAL_PART_MAX:
        digest = uuid5(NAMESPACE_URL, f"customer:{customer_id}").hex
        address = settings.recipient.replace("{customer}", digest)
    return address


def compose(letter: Letter, settings: SmtpSettings) -> bytes:
    """The mail's bytes, headers and text, as they are before SMTP puts dots before dots."""
    encoding, text = _encoded(letter.text)

    lines = (
        f"From: Orderflow <{settings.sender}>",
        f"To: <{recipient(letter.customer_id, settings)}>",
        f"Subject: {_header(letter.subject[:SUBJECT_MAX])}",
        f"Date: {format_datetime(letter.created_at)}",
        f"Message-ID: {message_id(letter, settings)}",
        f"X-Orderflow-Order-Id: {quote(letter.order_id)[:LINE_MAX]}",
        f"X-Orderflow-Customer-Id: {quote(letter.customer_id)[:LINE_MAX]}",
        "Auto-Submitted: auto-generated",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        f"Content-Transfer-Encoding: {encoding}",
        "",
        text.replace("\n", "\r\n"),
    )

    return "\r\n".join(lines).encode("ascii")


def _encoded(text: str) -> tuple[str, str]:
    if _PLAIN_TEXT.fullmatch(text):
        return "7bit", text
    return "base64", base64.encodebytes(text.encode()).decode()


def _header(text: str) -> str:
    """The text, or one encoded word (RFC 2047), so that nothing in it can end the header."""
    if text.isascii() and text.isprintable() and "=?" not in text:
        return text
    return f"=?utf-8?b?{base64.b64encode(text.encode()).decode()}?="


def _escaped(text: str) -> str:
    return _UNSAFE.sub(lambda match: "".join(f"={byte:02X}" for byte in match[0].encode()), text)


def _domain(settings: SmtpSettings) -> str:
    return settings.sender.rpartition("@")[2]
