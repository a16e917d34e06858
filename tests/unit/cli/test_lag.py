"""`orderflow lag`: what is computed from two surveys, on one screen and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from orderflow.cli import lag as command
from orderflow.cli import watching
from orderflow.cli.lag_report import duration, lines, screen
from orderflow.contracts.roster import ROSTER
from orderflow.messaging.errors import Unavailable
from orderflow.messaging.kafka.lag import Lag
from orderflow.messaging.kafka.lag_report import report
from orderflow.messaging.kafka.place import Place
from orderflow.messaging.kafka.survey import GroupLag, Log, Survey

AT = datetime(2026, 1, 31, 9, tzinfo=UTC)
LOG = Log(first=0, end=100, stable_end=100, under_replicated=False)


def behind(
    group: str, topic: str, partition: int, records: int, seconds: float | None = 0.0, **more: Any
) -> GroupLag:
    lag = Lag(
        group=group,
        topic=topic,
        partition=partition,
        records=records,
        **{"committed": 10, **more},
    )
    return GroupLag(lag=lag, seconds=seconds)


def survey(
    *lags: GroupLag,
    after_s: float = 0,
    transactions: dict[Place, float | None] | None = None,
    **more: Any,
) -> Survey:
    return Survey(
        at=AT + timedelta(seconds=after_s),
        brokers=1,
        logs={row.lag.place: LOG for row in lags},
        lags=lags,
        open_transactions=transactions or {},
        **more,
    )


def printed(shown: Any, **options: bool) -> str:
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        console.print(screen(shown, **options))
    return capture.get()


def test_a_lag_that_shrinks_says_when_it_is_gone_and_one_that_grows_that_it_never_is() -> None:
    before = survey(
        behind("inventory", "orders", 0, 700), behind("inventory", "orders", 1, 300, 4.0),
        behind("payment", "orders", 0, 10),
    )  # fmt: skip
    now = survey(
        behind("inventory", "orders", 0, 500, 42.0), behind("inventory", "orders", 1, 300, 8.0),
        behind("payment", "orders", 0, 30, 3.0),
        after_s=2,
    )  # fmt: skip
    inventory, payment = report(now, before=before).groups
    assert (inventory.pace.records, inventory.pace.seconds) == (800, 42.0)
    assert (inventory.pace.drain_per_second, inventory.pace.seconds_to_zero) == (100.0, 8.0)
    assert (payment.pace.drain_per_second, payment.pace.seconds_to_zero) == (-10.0, None)
    shown = printed(report(now, before=before))
    assert "never" in shown
    assert "8 s" in shown
    assert "-100" in shown
    assert "+10" in shown


def test_after_one_look_nobody_knows_a_rate_and_at_rest_there_is_nothing_to_say() -> None:
    first = survey(behind("inventory", "orders", 0, 500, 42.0), behind("payment", "orders", 0, 0))
    inventory, payment = report(first, before=first).groups
    assert (inventory.pace.drain_per_second, inventory.pace.seconds_to_zero) == (None, None)
    assert payment.pace.seconds_to_zero == 0
    new = survey(behind("newcomer", "orders", 0, 5, 1.0), after_s=1)
    assert report(new, before=first).groups[0].pace.drain_per_second is None


def test_an_age_that_could_not_be_read_is_not_shown_as_none() -> None:
    now = survey(behind("payment", "orders", 0, 3, None), behind("payment", "orders", 1, 3, 2.0))
    whole = report(now, before=now)
    assert whole.groups[0].pace.seconds is None
    assert lines(whole)["groups"][0]["seconds"] is None
    assert "ages that could not be read: orders-0" in printed(whole)


def test_everything_that_stands_is_named_under_the_table() -> None:
    now = survey(
        behind("payment", "orders", 0, 9, 2.0, beyond=1_234),
        transactions={("orders", 0): 300.0, ("orders", 1): 9.0, ("orders", 2): 0.1},
        missing=["payments"],
        leaderless=[("inventory", 2)],
        groups_left_out=3,
    )
    whole = report(now, before=now)
    shown = " ".join(printed(whole).split())
    for words in (
        "orders-0: a transaction hangs, for 5 min: readers stop there",
        "orders-1: a transaction is open, for 9 s",
        "topics that do not exist: payments",
        "partitions without a leader: inventory-2",
        "payment: committed 1,234 beyond the end of orders-0: it will read all of it again",
        "3 more groups are not shown",
    ):
        assert words in shown
    assert "orders-2" not in shown
    assert [of["hanging"] for of in lines(whole)["openTransactions"]] == [True, False, False]


def test_the_screen_has_80_columns_whatever_groups_and_topics_are_called() -> None:
    lags = [
        behind(member.group, topic.name, partition, 123_456_789, 9e6)
        for member in ROSTER
        for topic in member.listens_to
        for partition in range(2)
    ]
    lags.append(behind("a-group-with-a-name-that-is-longer-than-any-of-ours", "orders", 0, 1, 1.0))
    now = survey(*lags, after_s=1)
    shown = printed(report(now, before=survey(*lags)), partitions=True)
    assert max(map(len, shown.splitlines())) <= 80
    assert "…-by-customer-repartition" in shown
    assert "123,456,789" in shown


def test_replay_topics_are_shown_while_there_is_something_to_replay() -> None:
    idle, busy = (
        survey(behind("payment", "orders.payment.replay", 0, records)) for records in (0, 4)
    )
    assert "replay" not in printed(report(idle, before=idle))
    assert "orders (replay)" in printed(report(busy, before=busy))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (None, "?"), (0.2, "0 s"), (42.4, "42 s"), (60, "1 min"), (190, "3 min 10 s"),
        (7_500, "2 h 5 min"), (349_200, "4 d 1 h"),
    ],
)  # fmt: skip
def test_durations_are_words(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


class FakeSurveyor:
    """Looks again and again at the surveys that were put there; an error among them is raised."""

    def __init__(self, *surveys: Survey | BaseException) -> None:
        self.surveys: Iterator[Survey | BaseException] = iter(surveys)
        self.closed = False

    def survey(self) -> Survey:
        seen = next(self.surveys)
        if isinstance(seen, BaseException):
            raise seen
        return seen

    def close(self) -> None:
        self.closed = True


def run(
    monkeypatch: pytest.MonkeyPatch, *surveys: Survey | BaseException, arguments: tuple[str, ...]
) -> tuple[Result, FakeSurveyor]:
    surveyor = FakeSurveyor(*surveys)
    monkeypatch.setattr(command, "Surveyor", lambda *_args, **_options: surveyor)
    monkeypatch.setattr(command, "REFRESH_S", 0.0)
    monkeypatch.setattr(watching, "REFRESH_S", 0.0)
    app = typer.Typer()
    app.command()(command.lag)
    return CliRunner().invoke(app, list(arguments)), surveyor


def test_watch_goes_on_while_the_cluster_is_away_and_ends_well_with_ctrl_c(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watched, surveyor = run(
        monkeypatch,
        survey(behind("payment", "orders", 0, 10)),
        Unavailable("could not ask for lags: nobody is there", resource="broker"),
        survey(behind("payment", "orders", 0, 4), after_s=2),
        KeyboardInterrupt(),
        arguments=("--watch", "--json"),
    )
    assert watched.exit_code == 0
    assert "could not ask for lags" in watched.stderr
    first, second = (json.loads(line) for line in watched.stdout.splitlines())
    assert first["groups"][0]["drainPerSecond"] is None
    assert second["groups"][0]["drainPerSecond"] == 3.0
    assert surveyor.closed


def test_one_group_is_shown_alone_and_another_one_is_not_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = survey(behind("payment", "orders", 0, 10), behind("inventory", "orders", 0, 1))
    shown, _ = run(monkeypatch, both, both, arguments=("--json", "--group", "payment"))
    assert [row["group"] for row in json.loads(shown.stdout)["groups"]] == ["payment"]
    unknown, surveyor = run(monkeypatch, both, arguments=("--group", "revenue"))
    assert str(unknown.exception) == "there is no group revenue; there are: payment, inventory"
    assert surveyor.closed
    empty, _ = run(monkeypatch, survey(), arguments=())
    assert "orderflow topics apply" in str(empty.exception)
