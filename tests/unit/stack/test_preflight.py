"""What a machine must offer: each thing in the way is one line that says what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from orderflow.stack.preflight import DEFAULT_PORTS, Facts, checkout_name, troubles
from orderflow.stack.settings import EXTRAS, Ports, checkout, default_state_dir

DISK = Path("/disk")
FINE = Facts(
    python=(3, 11),
    has_venv=True,
    system="Linux",
    machine="x86_64",
    glibc=(2, 36),
    free_bytes={DISK: 2_000_000_000},
    needed_bytes={DISK: 1_500_000_000},
)
CASES = {
    "an old Python": (
        replace(FINE, python=(3, 10)),
        "Python 3.11 or newer is needed, this is 3.10",
    ),
    "Debian's python3 without venv": (
        replace(FINE, has_venv=False),
        "apt install python3-venv (or python3.11-venv)",
    ),
    "a Mac": (replace(FINE, system="Darwin", machine="arm64"), "this is Darwin arm64"),
    "musl": (replace(FINE, glibc=None), "another C library (musl?)"),
    "an old glibc": (replace(FINE, glibc=(2, 17)), "this system has glibc 2.17"),
    "a small disk": (
        replace(FINE, free_bytes={DISK: 400_000_000}),
        "/disk has 400 MB free and 1500 MB are needed",
    ),
    "no right to write": (replace(FINE, unwritable=[Path("/srv")]), "can't write in /srv"),
    "a taken port": (
        replace(FINE, taken={8080: "nginx (pid 7)"}),
        "port 8080 is taken by nginx (pid 7)",
    ),
}


def test_a_fitting_machine_has_no_troubles() -> None:
    assert troubles(FINE) == []


@pytest.mark.parametrize(("facts", "said"), CASES.values(), ids=CASES.keys())
def test_each_thing_in_the_way_is_one_line_that_says_what_to_do(facts: Facts, said: str) -> None:
    (line,) = troubles(facts)
    assert said in line
    assert ": " in line
    assert "\n" not in line


def test_all_troubles_are_told_at_once() -> None:
    assert len(troubles(replace(FINE, has_venv=False, taken={8080: "x", 19092: "y"}))) == 3


def test_the_ports_looked_at_are_those_that_the_stack_takes() -> None:
    ports = Ports()
    on_demand = {service for services in EXTRAS.values() for service in services}
    single = {
        port for name, port in ports if name != "kafka" and name.partition("_")[0] not in on_demand
    } | {
        ports.kafka[0],
        ports.kafka[0] + 1,
    }
    assert set(DEFAULT_PORTS.values()) == single


def test_data_has_the_same_name_before_and_after_set_up() -> None:
    assert default_state_dir().name == checkout_name(checkout())
