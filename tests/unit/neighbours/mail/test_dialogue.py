"""SMTP as the sink speaks it: however the bytes come, each command has its reply, in its place."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orderflow.neighbours.mail.dialogue import MAIL_BYTES_MAX, Dialogue
from orderflow.neighbours.mail.mailbox import Mail

BEGIN = b"EHLO us\r\n"
ENVELOPE = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
LIMITED = 10**6


def said(*pieces: bytes, answer: str = "250 OK") -> tuple[list[int], list[Mail], bool]:
    """
    The codes of the replies (a mail's is 0: whoever keeps it replies), the mails, and whether the
    conversation is over.
    """
    dialogue = Dialogue(lambda _recipient: answer)
    codes: list[int] = []
    mails: list[Mail] = []
    is_over = False
    for piece in pieces:
        dialogue.receive(piece)
        turn = dialogue.advance(mails_max=LIMITED)
        for reply in turn.replies:
            last = reply.splitlines()[-1] if reply else b"0"
            codes += [int(last[:3])] if reply or turn.places else []
        mails += turn.mails
        is_over = is_over or turn.is_over
    return codes, mails, is_over


def mails_of(*pieces: bytes) -> list[bytes]:
    return [mail.content for mail in said(*pieces)[1]]


CONVERSATION = (
    BEGIN
    + ENVELOPE
    + b"DATA\r\n..one\r\n\r\n..\r\ntwo\r\n.\r\n"
    + b"RSET\r\n"
    + ENVELOPE
    + b"BDAT 7\r\n.three\nBDAT 6 LAST\r\n\r\n.\r\n."
    + b"NOOP\r\n"
    + ENVELOPE
    + b"DATA\r\n.\r\n"
    + b"QUIT\r\n"
)


@given(cuts=st.lists(st.integers(0, len(CONVERSATION)), max_size=20))
def test_it_is_understood_in_whatever_pieces_it_comes(cuts: list[int]) -> None:
    ends = sorted({0, *cuts, len(CONVERSATION)})
    pieces = [CONVERSATION[begin:end] for begin, end in pairwise(ends)]
    _, mails, is_over = said(*pieces)
    assert [mail.content for mail in mails] == [
        b".one\r\n\r\n.\r\ntwo\r\n",
        b".three\n\r\n.\r\n.",
        b"",
    ]
    assert {(mail.sender, mail.recipients) for mail in mails} == {("a@b", ("c@d",))}
    assert is_over


def test_every_command_has_its_reply_in_its_place() -> None:
    dialogue = Dialogue(lambda _recipient: "250 OK")
    dialogue.receive(CONVERSATION)
    turn = dialogue.advance(mails_max=LIMITED)
    replies = turn.fill([True, False, True]).decode().replace("250-", "250.").splitlines()
    codes = [reply[:3] for reply in replies if reply[3:4] == " "]
    assert codes == [
        *["250", "250", "250", "354", "250"],
        *["250", "250", "250", "250", "250"],
        *["250", "250", "250", "354", "250"],
        "221",
    ]


def test_so_many_mails_are_read_and_the_others_wait() -> None:
    dialogue = Dialogue(lambda _recipient: "250 OK")
    dialogue.receive((b"RSET\r\n" + ENVELOPE + b"BDAT 1 LAST\r\nx") * 3)
    turns = [dialogue.advance(mails_max=2), dialogue.advance(mails_max=2)]
    assert [len(turn.mails) for turn in turns] == [2, 1]
    assert dialogue.waiting_bytes == 0


def test_mails_that_could_not_be_kept_are_refused_for_now() -> None:
    dialogue = Dialogue(lambda _recipient: "250 OK")
    dialogue.receive(ENVELOPE + b"BDAT 1 LAST\r\nx")
    assert dialogue.advance(mails_max=9).fill(None).splitlines()[-1].startswith(b"452")


@pytest.mark.parametrize("body", [b"DATA\r\n", b"BDAT 3 LAST\r\nabc"])
def test_without_a_recipient_there_is_no_mail(body: bytes) -> None:
    codes, mails, _ = said(b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n" + body, answer="550 no")
    assert (codes, mails) == ([250, 550, 503], [])


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (b"VRFY a", 500),
        (b"MAIL FROM:a@b", 501),
        (b"RCPT TO:<>", 501),
        (b"RCPT TO:<c@d>", 503),
        (b"mail from:<a@b> size=3 body=8bitmime", 250),
        (b"MAIL FROM:<>", 250),
        (b"BDAT x", 501),
    ],
)
def test_a_command_by_itself(command: bytes, code: int) -> None:
    assert said(command + b"\r\n")[0] == [code]


@pytest.mark.parametrize("is_data", [True, False])
def test_a_mail_that_is_too_big_is_read_to_its_end_and_refused(*, is_data: bool) -> None:
    body = b"x" * 70 + b"\r\n"
    big = body * (MAIL_BYTES_MAX // len(body) + 1)
    data = b"DATA\r\n" + big + b".\r\n" if is_data else b"BDAT %d LAST\r\n" % len(big) + big
    stream = ENVELOPE + data + b"RSET\r\n" + ENVELOPE + b"BDAT 1 LAST\r\nx"
    pieces = [stream[start : start + 8_192] for start in range(0, len(stream), 8_192)]
    codes, mails, _ = said(*pieces)
    assert 552 in codes
    assert [mail.content for mail in mails] == [b"x"]


def test_a_line_without_an_end_ends_the_conversation() -> None:
    assert said(b"x" * 3_000)[2]
