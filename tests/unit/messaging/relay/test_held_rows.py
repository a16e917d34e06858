"""Which rows go, which are held, and in which order: whatever happens, wherever the relay dies."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.messaging.relay.held_world import SETTINGS, World

from orderflow.messaging.relay import relay as module
from orderflow.messaging.relay.health import RelayState
from orderflow.messaging.relay.hold_decision import DISCARD, RESEND
from orderflow.messaging.relay.relay import Relay
from orderflow.messaging.relay.session import Batch
from orderflow.messaging.work.reasons import Degraded

KEYS = ("a", "b", "c")

write = st.tuples(
    st.just("write"),
    st.lists(st.sampled_from(KEYS), min_size=1, max_size=4),
    st.sets(st.integers(0, 3), max_size=2),
)
run = st.tuples(st.just("run"), st.integers(1, 3), st.none() | st.integers(0, 12))
want = st.tuples(st.just("want"), st.integers(0, 9), st.sampled_from((RESEND, DISCARD)))
mend = st.tuples(st.just("mend"), st.integers(0, 9), st.none())
steps = st.lists(write | run | want | mend, max_size=25)


@settings(
    max_examples=300,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=steps)
def test_the_order_of_a_key_holds_and_each_row_is_sent_once_or_discarded(
    monkeypatch: pytest.MonkeyPatch, steps: list[tuple[Any, Any, Any]]
) -> None:
    with monkeypatch.context() as patch:
        world = World(patch)
        for kind, what, how in steps:
            take(world, kind, what, how)
            assert_nothing_is_out_of_order(world)

        # At last all is mended, and somebody decides about each.
        world.too_large.clear()
        assert world.run()
        for _ in range(len(world.table)):
            for event_id in list(world.table):
                if world.table[event_id]["wanted"] is None:
                    world.want(event_id, RESEND)
            assert world.run()
        assert world.table == {}
        discarded = {event_id for event_id, outcome in world.outcomes if outcome == "discarded"}
        assert world.by_key() == {
            key: left
            for key, ids in world.written().items()
            if (left := [event_id for event_id in ids if event_id not in discarded])
        }


def take(world: World, kind: str, what: Any, how: Any) -> None:
    """One step of a history."""
    if kind == "write":
        world.write(what, too_large=how)
    elif kind == "run":
        world.kill_at = how
        world.run(together=what)
        world.kill_at = None
    elif world.table:
        event_id = list(world.table)[what % len(world.table)]
        if kind == "want":
            world.want(event_id, how)
        else:
            world.too_large.discard(event_id)


def assert_nothing_is_out_of_order(world: World) -> None:
    """Each key's records are in their order, and none is there while an older one is held."""
    written = world.written()
    for key, ids in world.by_key().items():
        places = [written[key].index(event_id) for event_id in ids]
        assert places == sorted(set(places)), "in order, each once"
        held = [written[key].index(each) for each in world.held_ids() if each in written[key]]
        assert not set(held) & set(places), "what is held is not there"
        assert not held or not places or max(places) < min(held)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_what_is_before_a_refused_row_in_its_transaction_goes(world: World) -> None:
    """Also when a killed relay had written down the refused one, and what is behind it."""
    before, refused, behind, _ = world.write(["a", "a", "a", "b"], too_large=[1])
    world.kill_at = 3
    assert not world.run()
    assert (list(world.table), world.topic) == ([refused, behind], [])
    assert world.run()
    assert world.by_key()["a"] == [before]
    assert [held["why"] for held in world.table.values()] == ["TOO_LARGE", None]


def test_a_later_row_of_a_held_key_waits_behind_it_and_others_go(world: World) -> None:
    (refused,) = world.write(["a"], too_large=[0])
    assert world.run()
    later, other = world.write(["a", "b"])
    assert world.run()
    assert (list(world.table), world.by_key()) == ([refused, later], {"b": [other]})


def test_a_row_is_held_once_and_sent_once_wherever_the_relay_is_killed(world: World) -> None:
    """At each failpoint, as it is held and as it is sent."""
    for kill_at in range(12):
        refused, behind, _ = world.write(["a", "a", "b"], too_large=[0])
        world.kill_at = kill_at
        world.run()
        assert world.run()
        assert (list(world.table), world.topic[-1].key) == ([refused, behind], b"b")

        world.too_large.clear()
        world.want(refused, RESEND)
        world.kill_at = kill_at
        world.run()
        assert world.run()
        assert world.table == {}
        assert world.by_key() == world.written()


def test_a_discarded_row_is_passed_and_the_next_refused_one_of_its_key_stops(world: World) -> None:
    first, second, third, fourth = world.write(["a"] * 4, too_large=[0, 2])
    assert world.run()
    assert list(world.table) == [first, second, third, fourth]
    world.want(first, DISCARD)
    assert world.run()
    assert (world.by_key(), list(world.table)) == ({"a": [second]}, [third, fourth])
    assert world.outcomes == [(first, "discarded"), (second, "sent")]


def test_what_is_refused_again_stays_and_what_waits_behind_it_too(world: World) -> None:
    refused, behind = world.write(["a", "a"], too_large=[0])
    world.run()
    world.want(refused, RESEND)
    world.run()
    assert (world.topic, list(world.table)) == ([], [refused, behind])
    assert world.outcomes == [(refused, "refused again")]
    assert world.table[refused]["wanted"] is None


def test_a_refused_row_delays_no_other_and_degrades_the_relay(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    states: list[RelayState] = []
    monkeypatch.setattr(module, "set_gauges", lambda health, **_: states.append(health.state))
    relay = Relay(SETTINGS, clock=world.clock)
    world.write(["a", "b"], too_large=[0])
    began = world.clock.monotonic()
    session = world.session()
    rows, end = world.log[0]
    relay._publish(session, Batch(rows, [(2, end)]), end)
    assert world.clock.monotonic() == began
    assert states == [], "it never had to wait"

    (held,) = [reason for reason in relay.reasons() if isinstance(reason, Degraded)]
    assert held == (
        "relay: 1 row of the outbox is held, which a topic refused: the table of held rows"
    )


def test_more_rows_than_a_relay_holds_stop_it_until_there_is_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, settings=msgspec.structs.replace(SETTINGS, held_rows_max=2))
    ids = world.write(["a", "b", "c"], too_large=[0, 1])
    assert world.run()
    world.write(["d"], too_large=[0])

    relay = Relay(world.settings, clock=world.clock)
    seen: list[list[str]] = []

    def wait(seconds: float) -> None:
        # As another thread asks; after a while an operator makes room.
        seen.append(relay.reasons())
        if len(seen) == 30:
            world.want(ids[0], DISCARD)
        world.clock.advance(seconds)

    monkeypatch.setattr("time.sleep", wait)
    assert world.run(relay=relay)
    assert seen[0][0] == (
        "relay waiting: 2 rows of the outbox of probe are held, 1 more would be too many: "
        "the table of held rows"
    )
    assert not isinstance(seen[0][0], Degraded)
    assert len(world.table) == 2
    assert world.position == world.log[-1][1]
