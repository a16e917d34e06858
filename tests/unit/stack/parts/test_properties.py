"""A Java properties file says the same path as Python does, whatever letters it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orderflow.stack.parts.kafka import write_properties


def read_as_java_does(file: Path) -> dict[str, str]:
    """By the rules of `java.util.Properties.load`: ISO-8859-1, escapes, surrogate pairs."""
    read = {}
    for line in file.read_text(encoding="iso-8859-1").splitlines():
        key, _, value = line.partition("=")
        plain = re.sub(
            r"\\(?:u([0-9a-f]{4})|(.))",
            lambda escape: chr(int(escape[1], 16)) if escape[1] else escape[2],
            value.lstrip(),
        )
        read[key] = plain.encode("utf-16", "surrogatepass").decode("utf-16")
    return read


@pytest.mark.parametrize(
    "path",
    ["/srv/Übung", "/srv/c\\u0041d", "/srv/a b=c:d#e!f", "/srv/日本", "/srv/🛒 x", "/srv/100%'\""],
)
def test_a_path_is_read_as_it_was_written(tmp_path: Path, path: str) -> None:
    file = tmp_path / "server.properties"
    write_properties(file, {"log.dirs": path, "node.id": "1"})
    assert read_as_java_does(file) == {"log.dirs": path, "node.id": "1"}
