"""The provider refuses settings that can't work, and never shows a secret."""

from __future__ import annotations

import pytest

from orderflow.messaging.errors import ConfigurationError
from orderflow.neighbours.psp.config import load

WRONG = [
    ({"WEBHOOK_URL": "http://127.0.0.1/x"}, "set together"),
    ({"WEBHOOK_SECRET": "whsec_c2VjcmV0"}, "set together"),
    ({"WEBHOOK_URL": "http://127.0.0.1/x", "WEBHOOK_SECRET": "whsec_"}, "WEBHOOK_SECRET"),
    ({"API_KEY": "hidden key"}, "API_KEY"),
    ({"REQUESTS_PER_S": "0"}, "REQUESTS_PER_S"),
]


@pytest.mark.parametrize(("environment", "why"), WRONG)
def test_a_wrong_setting_is_refused_by_its_name_and_without_its_value(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], why: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"ORDERFLOW_PSP__{name}", value)
    with pytest.raises(ConfigurationError, match=why) as refused:
        load()
    assert "hidden" not in str(refused.value)
    assert "c2VjcmV0" not in str(refused.value)
