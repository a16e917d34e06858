"""
A peer that answers by the byte, or without end, holds nobody: each call has an end as a whole.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.support.provider_client import ProviderClient
from tests.support.slow_server import slow_server
from tests.unit.services.notification.test_model import letter
from tests.unit.services.payment.accounts import recorded

from orderflow.contracts.ids import CustomerId
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.schemas.registry import Registry
from orderflow.messaging.settings import RegistrySettings
from orderflow.services.notification.config import SmtpSettings
from orderflow.services.notification.mailer import Mailer, SendTask, Sent
from orderflow.services.payment.config import ProviderSettings
from orderflow.services.payment.gateway import Verdict
from orderflow.stack.ports import HOST

BODY = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90000000\r\n\r\n{"
ENDLESS_HTTP = {
    "headers by the byte": (b"HTTP/1.1 200 OK\r\nX-Padding: ", b"x", 0.05),
    "a body by the byte": (BODY, b" ", 0.05),
    "a body as fast as it can": (BODY, b" " * 65_536, 0.0),
    "silence": (b"", b"", 0.05),
}


@contextmanager
def ending_within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds, "the call has its end"


@pytest.mark.parametrize("kind", ENDLESS_HTTP)
def test_a_registry_that_never_ends_its_answer_is_unavailable(kind: str) -> None:
    begin, drip, every_s = ENDLESS_HTTP[kind]
    with slow_server(begin, drip, every_s=every_s) as server:
        settings = RegistrySettings(url=f"http://{HOST}:{server.port}", timeout_s=0.5)
        with closing(Registry(settings)) as registry, ending_within(2):
            for _ in range(2):
                with pytest.raises(Unavailable):
                    registry.schema_text(7)


@pytest.mark.parametrize("kind", ENDLESS_HTTP)
def test_a_provider_that_never_ends_its_answer_leaves_the_outcome_unknown(kind: str) -> None:
    begin, drip, every_s = ENDLESS_HTTP[kind]
    with slow_server(begin, drip, every_s=every_s) as server:
        settings = ProviderSettings(
            url=f"http://{HOST}:{server.port}",
            connect_timeout_s=0.2,
            read_timeout_s=0.5,
            call_timeout_s=0.7,
        )
        with closing(ProviderClient(settings)) as gateway, ending_within(2):
            payment = recorded("requested")
            assert gateway.charge(payment, after_voids=0).verdict is Verdict.UNKNOWN
            with pytest.raises(Unavailable):
                gateway.find(payment)


@contextmanager
def mailer(begin: bytes, drip: bytes) -> Iterator[Mailer]:
    with slow_server(begin, drip, waits_for_request=False) as server:
        settings = SmtpSettings(host=HOST, port=server.port, connect_timeout_s=0.5, timeout_s=0.5)
        made = Mailer(settings, give_up_s=3600, stopping=lambda: False)
        yield made
        made.close()


def sent(mailer: Mailer) -> Sent:
    letters = [(CustomerId("anna"), [letter("anna", "1")])]
    return mailer.call(SendTask(letters=letters, until=time.monotonic() + 30))


@pytest.mark.parametrize(
    ("begin", "drip"), [(b"220-", b"x"), (b"220-hello\r\n", b"220-hello\r\n"), (b"", b"")]
)
def test_a_mail_server_that_never_ends_its_greeting_is_away(begin: bytes, drip: bytes) -> None:
    with mailer(begin, drip) as made, ending_within(2):
        assert "can't be reached" in str(sent(made).error)


@pytest.mark.parametrize("hello", [b"250 hello", b"250-hello\r\n250-PIPELINING\r\n250 CHUNKING"])
def test_a_mail_server_that_never_ends_its_reply_defers_the_letter(hello: bytes) -> None:
    """Greeting and EHLO are answered; then lines of a reply that has no last one."""
    with mailer(b"220 hello\r\n" + hello + b"\r\n", b"250-and more\r\n") as made, ending_within(2):
        [result] = sent(made).results
        assert result.deferred is not None
        assert "no answer" in result.deferred.reason
