"""The judge finds each kind of violation, by its name, and nothing in a history that is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orderflow.prove.checker import Finding, Ledger, Seen, check

PARTITIONS = 4
VIOLATIONS = ("gaps", "inversions", "repeats", "split", "wrong_keys", "lost", "unknown")


class History(msgspec.Struct, frozen=True):
    """Right as it is: each owner's numbers from 1, in order, on one partition, owners mixed."""

    records: list[Seen]
    ledger: Ledger

    def longest(self) -> str:
        return max(self.ledger, key=lambda owner: len(self.ledger[owner]))

    def of(self, owner: str) -> list[int]:
        return [at for at, one in enumerate(self.records) if one.owner == owner]


def right(seed: int, records_min: int = 1) -> History:
    draw = Random(seed)
    lengths = [draw.randint(1, 6) for _ in range(draw.randint(1, 8))]
    lengths[0] = max(lengths[0], records_min)
    owners = {f"owner-{number}": length for number, length in enumerate(lengths)}
    places = {owner: draw.randrange(PARTITIONS) for owner in owners}
    to_come = [owner for owner, length in owners.items() for _ in range(length)]
    draw.shuffle(to_come)
    told: Counter[str] = Counter()
    records = []
    for at, owner in enumerate(to_come):
        told[owner] += 1
        records.append(
            Seen(
                partition=places[owner],
                offset=at,
                key=owner,
                event_id=f"event-{at}",
                owner=owner,
                number=told[owner],
            )
        )
    return History(records, {owner: range(1, length + 1) for owner, length in owners.items()})


def histories(*, records_min: int = 1) -> st.SearchStrategy[History]:
    return st.builds(right, st.integers(0, 2**32), st.just(records_min))


def judged(records: list[Seen], ledger: Ledger) -> Finding:
    return check("notifications", "customerId", records, ledger)


def found(finding: Finding) -> dict[str, int]:
    return {name: count for name in VIOLATIONS if (count := getattr(finding, name))}


@given(histories())
def test_a_right_history_has_nothing_against_it(history: History) -> None:
    finding = judged(history.records, history.ledger)
    assert found(finding) == {}
    assert finding.violations == 0
    assert finding.examples == ()
    assert (finding.records, finding.keys) == (len(history.records), len(history.ledger))
    assert finding.records_per_key_max == max(map(len, history.ledger.values()))
    assert finding.partitions == len({one.partition for one in history.records})


def drop_one_in_the_middle(history: History) -> list[Seen]:
    gone = history.of(history.longest())[1]
    return [one for at, one in enumerate(history.records) if at != gone]


def drop_the_last(history: History) -> list[Seen]:
    gone = history.of(history.longest())[-1]
    return [one for at, one in enumerate(history.records) if at != gone]


def drop_an_owner(history: History) -> list[Seen]:
    owner = history.longest()
    return [one for one in history.records if one.owner != owner]


def swap_two(history: History) -> list[Seen]:
    first, second, *_ = history.of(history.longest())
    records = [*history.records]
    records[first], records[second] = (
        msgspec.structs.replace(records[second], offset=first),
        msgspec.structs.replace(records[first], offset=second),
    )
    return records


def tell_one_again_at_the_end(history: History) -> list[Seen]:
    last = history.records[history.of(history.longest())[-1]]
    return [*history.records, msgspec.structs.replace(last, offset=1_000)]


def tell_one_again_under_a_new_id(history: History) -> list[Seen]:
    last = history.records[history.of(history.longest())[-1]]
    return [*history.records, msgspec.structs.replace(last, offset=1_000, event_id="new")]


def use_an_id_twice(history: History) -> list[Seen]:
    first, second, *_ = history.of(history.longest())
    records = [*history.records]
    records[second] = msgspec.structs.replace(records[second], event_id=records[first].event_id)
    return records


def move_the_last_to_another_partition(history: History) -> list[Seen]:
    last = history.of(history.longest())[-1]
    records = [*history.records]
    elsewhere = (records[last].partition + 1) % PARTITIONS
    records[last] = msgspec.structs.replace(records[last], partition=elsewhere)
    return records


def take_a_key_away(history: History) -> list[Seen]:
    last = history.of(history.longest())[-1]
    records = [*history.records]
    records[last] = msgspec.structs.replace(records[last], key="")
    return records


def invent_one(history: History) -> list[Seen]:
    last = history.records[history.of(history.longest())[-1]]
    new = msgspec.structs.replace(last, offset=1_000, number=last.number + 1, event_id="new")
    return [*history.records, new]


@pytest.mark.parametrize(
    ("plant", "violations"),
    [
        (drop_one_in_the_middle, {"gaps": 1, "lost": 1}),
        (drop_the_last, {"lost": 1}),
        (swap_two, {"inversions": 1}),
        (tell_one_again_at_the_end, {"repeats": 1}),
        (tell_one_again_under_a_new_id, {"repeats": 1}),
        (use_an_id_twice, {"repeats": 1}),
        (move_the_last_to_another_partition, {"split": 1}),
        (take_a_key_away, {"wrong_keys": 1}),
        (invent_one, {"unknown": 1}),
    ],
)
@settings(max_examples=40)
@given(history=histories(records_min=3))
def test_each_violation_is_found_by_its_name_wherever_it_is(
    plant: Callable[[History], list[Seen]], violations: dict[str, int], history: History
) -> None:
    finding = judged(plant(history), history.ledger)
    assert found(finding) == violations
    assert finding.violations == sum(violations.values())
    assert len(finding.examples) == len(violations)
    assert history.longest() in finding.examples[0]


@given(histories(records_min=3))
def test_an_owner_that_is_not_there_at_all_is_lost(history: History) -> None:
    owner = history.longest()
    assert found(judged(drop_an_owner(history), history.ledger)) == {
        "lost": len(history.ledger[owner])
    }


def test_examples_are_few_however_much_is_wrong() -> None:
    history = [
        Seen(partition=0, offset=at, key="", event_id=str(at), owner=f"o{at}", number=2)
        for at in range(1_000)
    ]
    finding = judged(history, {})
    assert len(finding.examples) == 5
    assert finding.violations == 3_000
