"""A client of ours goes where its address says, whatever the shell has for a proxy."""

from __future__ import annotations

from typing import Any

import pytest

from orderflow.messaging.http.client import BoundedClient


@pytest.mark.parametrize(("options", "proxies"), [({}, False), ({"trust_env": True}, True)])
def test_a_proxy_of_the_environment_is_used_only_where_that_is_said(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], proxies: bool
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with BoundedClient(within_s=1, **options) as client:
        assert bool(client._mounts) == proxies
