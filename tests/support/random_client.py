"""
A client made of an OpenAPI document that sends what is valid by it, what is not, and what nobody
thought of: Schemathesis, as a library.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

HANGS_AFTER_S = 15
"""Longer than any answer may wait; whoever waits for less is told so by `Prefer`."""

CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
HURRY = {"Prefer": "wait=0"}
WAITS = "minPosition"
"""A position that is not reached is waited for, as documented: other tests do."""


class RandomClient:
    """
    Asks the API at `url`; of four requests, three have path parameters out of `known` where there
    are some, since nobody guesses an id. `statuses`: how often each was the answer, by operation.
    """

    def __init__(self, url: str, known: Mapping[str, Sequence[str]] = MappingProxyType({})) -> None:
        load_all_checks()
        self._url, self._known = url, known
        self._session = requests.Session()
        self._session.trust_env = False
        document = self._session.get(f"{url}/openapi.json", timeout=HANGS_AFTER_S).json()
        self._schema = schemathesis.openapi.from_dict(document)
        self.statuses: Counter[tuple[str, int]] = Counter()

    def operations(self) -> Iterator[Any]:
        for result in self._schema.get_all_operations():
            assert isinstance(result, Ok), result
            yield result.ok()

    def ask(self, operation: Any, *, times: int, same: bool) -> None:
        """
        Send so many requests to one operation, with `same` the same ones in every run. The first
        answer that is wrong is an error.

        Wrong are 500 and its like (503 says when to come back, and is documented), what is not
        documented, another body or header than documented, and no answer in time.
        """
        modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @settings(
            max_examples=times,
            deadline=None,
            database=None,
            derandomize=same,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=st.one_of(modes), choice=st.integers(0, 3))
        def send(case: Any, choice: int) -> None:
            for name, values in self._known.items():
                if choice and name in (case.path_parameters or {}):
                    case.path_parameters[name] = values[choice % len(values)]
            self._send(case)

        send()

    def _send(self, case: Any) -> None:
        if case.query:
            case.query.pop(WAITS, None)
        answer = case.call(
            base_url=self._url, session=self._session, headers=HURRY, timeout=HANGS_AFTER_S
        )
        self.statuses[case.operation.label, answer.status_code] += 1
        assert answer.status_code in range(200, 500) or answer.status_code == 503, answer.text
        case.validate_response(answer, checks=CHECKS)
