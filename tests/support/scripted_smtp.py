"""
A mail server that answers as a test scripts it: answers that the well-behaved sink never gives.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from orderflow.stack.ports import HOST

CLOSE = ""
"""Instead of an answer: the connection ends."""
GOOD: Mapping[str, str] = {
    "greeting": "220 hello",
    "EHLO": "250-hello\r\n250 PIPELINING",
    "MAIL": "250 ok",
    "RCPT": "250 ok",
    "DATA": "354 go on",
    "mail": "250 accepted",
    "BDAT": "250 accepted",
    "RSET": "250 ok",
}
CHUNKING = "250-hello\r\n250-PIPELINING\r\n250 CHUNKING"
PIPELINING = GOOD["EHLO"]
PLAIN = "250 hello"


class Scripted(socketserver.ThreadingTCPServer):
    """
    `answers` by command, `greeting` or `mail` (the end of a mail); a test may change them while it
    runs. A list is given out answer by answer, and its last one for ever. `commands`: what came.
    """

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Conversation)
        self.answers: dict[str, str | list[str]] = {**GOOD}
        self.commands: list[str] = []
        self.connections = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Conversation(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        self.server.connections += 1
        in_mail = not self._answer("greeting")
        for line in iter(self.rfile.readline, b""):
            if in_mail:
                if line != b".\r\n":
                    continue
                in_mail, command = False, "mail"
            else:
                command = line.split()[0].decode().rstrip(":").upper()
                if command == "BDAT":
                    self.rfile.read(int(line.split()[1]))

            self.server.commands.append(command)
            answer = self._answer(command)
            if not answer:
                return
            in_mail = answer.startswith("354")

    def _answer(self, command: str) -> str:
        answers = self.server.answers[command]
        answer = answers if isinstance(answers, str) else _next(answers)
        if answer:
            self.wfile.write(f"{answer}\r\n".encode())
        return answer


def _next(answers: list[str]) -> str:
    return answers.pop(0) if len(answers) > 1 else answers[0]


@contextmanager
def scripted_smtp() -> Iterator[Scripted]:
    with Scripted() as server:
        thread = threading.Thread(
            target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        )
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join(10)
