"""
Placing orders on a real database: one price for everybody, and a key before anything of today.

The writer of the group commit and the API of the catalogue, without processes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, cast
from unittest.mock import patch
from uuid import uuid4

import httpx2
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient
from tests.support.databases import database_settings, empty_database
from tests.support.products import put_product
from tests.support.stack import Stack
from typer.testing import CliRunner

from orderflow.cli import product
from orderflow.contracts.events import CancelReason, PaymentMode
from orderflow.contracts.ids import CustomerId, Sku
from orderflow.messaging import postgres
from orderflow.messaging.errors import Transient
from orderflow.messaging.event import read_clock
from orderflow.messaging.http.health import without_redirects
from orderflow.messaging.http.problems import handlers
from orderflow.messaging.postgres import Connection, Cursor, Session
from orderflow.messaging.testing.eventually import eventually
from orderflow.services.order import repository
from orderflow.services.order.bootstrap import MIGRATIONS
from orderflow.services.order.changes import Origin, write_changes
from orderflow.services.order.commands import Command, CommandResult, PlaceOrder, execute
from orderflow.services.order.http import problems
from orderflow.services.order.http.products import ProductRoutes
from orderflow.services.order.idempotency import Claim, KeyTaken, scope_of
from orderflow.services.order.model import Action, NoPrice, Order, RequestedLine, UnknownSku
from orderflow.services.order.place_batch import Outcome, Placement, Written, writer
from orderflow.services.order.pricing import PaymentMethodMissing, PriceChanged
from orderflow.services.order.rules import cancel, with_note
from orderflow.stack.demo_data import PRODUCTS, put_products

LAMP = "LAMP"
WAITING = """
SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@dataclass
class Placing:
    """A process's writer, on a database with one product at 4,590."""

    url: str
    session: Session
    connection: Connection
    write: Callable[[Cursor, list[Placement]], list[Outcome]] = field(
        default_factory=lambda: writer(24, encode=encode)
    )

    def place(self, *placements: Placement) -> list[Outcome]:
        """Write them in one transaction."""
        with self.session.transaction() as cursor:
            return self.write(cursor, list(placements))

    def place_alone(self, *placements: Placement) -> list[Outcome]:
        """Write them as the committer does: in no transaction but the one that they need."""
        with self.connection.cursor() as cursor:
            return self.write(cursor, list(placements))

    def trips(self, *placements: Placement) -> int:
        """How often writing them waits for the database."""
        with patch.object(self.connection, "wait", wraps=self.connection.wait) as wait:
            self.place_alone(*placements)
        return wait.call_count

    def execute(self, command: Command) -> CommandResult:
        with self.session.transaction() as cursor:
            result = execute(cursor, command, encode=encode)
        assert result is not None
        return result

    def put(self, price: int, *, active: bool = True, sku: str = LAMP) -> None:
        put_product(self.url, sku, prices={"EUR": price}, active=active)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with postgres.connect(database_settings(self.url), application_name="test") as connection:
            return connection.execute(query.encode()).fetchall()


def encode(topic: str, _event: msgspec.Struct) -> bytes:
    return topic.encode()


def answer(order: Order) -> bytes:
    return f"{order.order_id} {order.amount_minor}".encode()


def placement(
    *skus: str,
    key: str | None = None,
    body: str = "same",
    seen: int | None = None,
    total: int | None = None,
    **changed: Any,
) -> Placement:
    """An order for the lamp, or `skus`; `seen` and `total` are what its client expects to pay."""
    command = PlaceOrder(
        customer_id=CustomerId("customer-123"),
        lines=tuple(
            RequestedLine(sku=Sku(sku), quantity=2, expected_unit_price_minor=seen)
            for sku in skus or (LAMP,)
        ),
        currency="EUR",
        mode=PaymentMode.AUTOMATIC,
        payment_method="card",
        origin=Origin(type="command", id="place"),
        expected_amount_minor=total,
    )
    claim = None if key is None else Claim(scope="place", key=key, request_hash=body.encode())
    return Placement(
        command=msgspec.structs.replace(command, **changed), answer=answer, claim=claim
    )


def amount(outcome: Outcome) -> int:
    assert isinstance(outcome, Written), outcome
    return int(outcome.answer.split()[1])


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    with empty_database(stack, "placing") as url:
        postgres.migrate(url, MIGRATIONS)
        yield url


@pytest.fixture
def placing(url: str) -> Iterator[Placing]:
    session = Session(database_settings(url), application_name="test")
    with closing(session), closing(connect(url)) as connection:
        placing = Placing(url=url, session=session, connection=connection)
        placing.put(4_590)
        yield placing


def connect(url: str) -> Connection:
    return postgres.connect(database_settings(url), application_name="test", autocommit=True)


@contextmanager
def catalogue_api(url: str) -> Iterator[TestClient]:
    """The routes of the catalogue, in this process."""
    postgres.migrate(url, MIGRATIONS)
    pool = postgres.open_pool(database_settings(url), application_name="test")
    routes = ProductRoutes(pool, body_bytes_max=65_536).routes()
    api: Starlette = without_redirects(
        routes, handlers(*problems.EXPECTED, translate=problems.from_error)
    )
    try:
        with TestClient(api) as client:
            yield client
    finally:
        pool.close()


@pytest.fixture
def client(url: str) -> Iterator[TestClient]:
    with catalogue_api(url) as client:
        yield client


@pytest.fixture
def key() -> str:
    return uuid4().hex


def test_what_is_charged_is_what_the_catalogue_shows_at_every_moment(
    placing: Placing, client: TestClient
) -> None:
    for price in (4_590, 5_590, 3_990):
        placing.put(price)
        assert client.get(f"/products/{LAMP}").json()["prices"] == {"EUR": price}
        [outcome] = placing.place(placement())
        assert amount(outcome) == 2 * price


def test_all_orders_of_a_batch_have_the_prices_of_one_moment(placing: Placing) -> None:
    stop = threading.Event()

    def change_prices() -> None:
        price = 5_000
        while not stop.is_set():
            price += 1
            placing.put(price)

    with ThreadPoolExecutor(1) as threads:
        changing = threads.submit(change_prices)
        try:
            batches = [placing.place(*[placement() for _ in range(20)]) for _ in range(20)]
        finally:
            stop.set()
        changing.result(20)
    amounts = [{amount(outcome) for outcome in batch} for batch in batches]
    assert all(len(batch) == 1 for batch in amounts)
    assert len(set.union(*amounts)) > 1, "prices did change meanwhile"


def test_known_products_and_new_keys_take_one_round_trip_and_all_else_is_read_first(
    placing: Placing, key: str
) -> None:
    assert placing.trips(placement()) > 1
    assert placing.trips(placement(), placement("NO-SUCH-THING")) > 1
    assert placing.trips(placement(), placement(seen=1), placement(key=key)) == 1
    assert placing.trips(placement(key=key)) > 1, "the key is held"
    placing.put(7_777)
    assert placing.trips(placement()) > 1, "it costs something else"
    assert placing.trips(placement()) == 1


def test_a_key_that_somebody_commits_meanwhile_undoes_the_batch_and_is_found_at_once(
    placing: Placing, key: str
) -> None:
    """Two processes with known products: both look for the key before one of them commits it."""
    other, count = writer(24, encode=encode), "SELECT count(*) FROM orders"
    placing.place_alone(placement())
    before = placing.rows(count)[0][0]
    with ThreadPoolExecutor(1) as threads:
        with placing.session.transaction() as cursor:
            [first] = other(cursor, [placement(key=key)])
            waiting = threads.submit(placing.place_alone, placement(), placement(key=key))
            eventually(
                lambda: placing.rows(WAITING), within_s=20, why="the other waits for the key"
            )
        with pytest.raises(Transient):
            waiting.result(20)
    assert placing.rows(count)[0][0] == before + 1
    [_, second] = placing.place_alone(placement(), placement(key=key))
    assert isinstance(first, Written)
    assert second == msgspec.structs.replace(first, repeated=True)


def test_a_product_is_ordered_as_soon_as_it_exists_and_no_longer_once_it_is_withdrawn(
    placing: Placing, client: TestClient
) -> None:
    sku = f"NEW-{uuid4().hex[:8]}"
    assert [type(outcome) for outcome in placing.place(placement(sku))] == [UnknownSku]
    placing.put(100, sku=sku)
    assert [amount(outcome) for outcome in placing.place(placement(sku))] == [200]

    placing.put(100, sku=sku, active=False)
    assert [type(outcome) for outcome in placing.place(placement(sku))] == [UnknownSku]
    assert sku not in {item["sku"] for item in client.get("/products").json()["items"]}
    assert client.get(f"/products/{sku}").json()["active"] is False
    assert len(client.get(f"/products/{sku}/history").json()["items"]) == 2


@pytest.mark.parametrize(
    ("expected", "price", "total"),
    [({"seen": 3_990}, 4_590, 9_180), ({"total": 7_980}, 4_590, 9_180)],
    ids=["of a line", "of the order"],
)
def test_an_order_at_a_price_that_the_client_has_not_seen_is_not_placed_and_its_key_stays_free(
    placing: Placing, key: str, expected: dict[str, Any], price: int, total: int
) -> None:
    before = placing.rows("SELECT count(*) FROM orders")
    [refused] = placing.place(placement(key=key, **expected))
    assert isinstance(refused, PriceChanged)
    assert [line.unit_price_minor for line in refused.lines] == [price]
    assert (refused.amount_minor, refused.currency) == (total, "EUR")
    assert placing.rows("SELECT count(*) FROM orders") == before

    agreed = placement(key=key, seen=price, total=total, body="another")
    assert [amount(outcome) for outcome in placing.place(agreed)] == [total]


def test_a_bad_order_fails_alone_and_writes_nothing(placing: Placing) -> None:
    before = placing.rows("SELECT count(*) FROM orders")[0][0]
    good, unknown, foreign, unpaid, changed, last = placing.place(
        placement(),
        placement("NO-SUCH-THING"),
        placement(currency="CHF"),
        placement(payment_method=None),
        placement(seen=1),
        placement(),
    )
    assert amount(good) == amount(last) == 9_180
    assert [type(refused) for refused in (unknown, foreign, unpaid, changed)] == [
        UnknownSku,
        NoPrice,
        PaymentMethodMissing,
        PriceChanged,
    ]
    assert placing.rows("SELECT count(*) FROM orders")[0][0] == before + 2


TODAY: Mapping[str, tuple[Callable[[Placing], None], dict[str, Any]]] = {
    "the product is withdrawn": (lambda placing: placing.put(4_590, active=False), {}),
    "the price has changed": (lambda placing: placing.put(9_999), {"seen": 4_590}),
    "the default payment method is gone": (lambda _placing: None, {"payment_method": None}),
}


@pytest.mark.parametrize("case", TODAY)
def test_the_same_request_again_gets_the_first_answer_whatever_has_become_of_the_catalogue(
    placing: Placing, key: str, case: str
) -> None:
    change, again = TODAY[case]
    [first] = placing.place(placement(key=key))
    change(placing)
    [second] = placing.place(placement(key=key, **again))
    assert isinstance(first, Written)
    assert second == msgspec.structs.replace(first, repeated=True)


def test_two_refused_requests_of_one_key_in_one_batch_are_both_refused(
    placing: Placing, key: str
) -> None:
    """A double click: neither may be answered with the order that the other did not place."""
    twice = (placement("NO-SUCH-THING", key=key), placement("NO-SUCH-THING", key=key))
    assert [type(outcome) for outcome in placing.place(*twice)] == [UnknownSku, UnknownSku]
    assert isinstance(placing.place(placement(key=key))[0], Written)


def test_a_refused_request_gives_its_key_back(placing: Placing, key: str) -> None:
    assert [type(outcome) for outcome in placing.place(placement("NO-SUCH-THING", key=key))] == [
        UnknownSku
    ]
    assert placing.rows(f"SELECT 1 FROM idempotency_key WHERE key = '{key}'") == []
    [placed] = placing.place(placement(key=key, body="another"))
    assert amount(placed) == 9_180


def test_in_one_batch_a_good_request_has_the_key_before_a_bad_one(
    placing: Placing, key: str
) -> None:
    bad, good, repeat = placing.place(
        placement("NO-SUCH-THING", key=key, body="bad"),
        placement(key=key, body="good"),
        placement(key=key, body="good"),
    )
    assert isinstance(bad, KeyTaken)
    assert isinstance(good, Written)
    assert repeat == msgspec.structs.replace(good, repeated=True)


def test_a_refusal_waits_for_whoever_is_about_to_commit_the_same_key(
    placing: Placing, key: str
) -> None:
    """Two processes: one has priced the order, the product is withdrawn, the other is asked."""
    settings = database_settings(placing.url)
    with (
        closing(Session(settings, application_name="test")) as session,
        ThreadPoolExecutor(1) as threads,
    ):
        other = Placing(url=placing.url, session=session, connection=placing.connection)
        with placing.session.transaction() as cursor:
            [first] = placing.write(cursor, [placement(key=key)])
            placing.put(4_590, active=False)
            waiting = threads.submit(other.place, placement(key=key))
            eventually(
                lambda: placing.rows(WAITING), within_s=20, why="the other waits for the key"
            )
        [second] = waiting.result(20)
    assert isinstance(first, Written)
    assert second == msgspec.structs.replace(first, repeated=True)


def test_pay_asks_for_a_payment_method_only_if_its_key_is_new(placing: Placing, key: str) -> None:
    """No default any more: the attempt that the key stands for is known all the same."""
    [placed] = placing.place(placement(mode=PaymentMode.ON_REQUEST, payment_method=None))
    assert isinstance(placed, Written)
    pay = Command(
        action=Action.PAY,
        order_id=placed.order_id,
        customer_id=None,
        origin=Origin(type="command", id="pay"),
        claim=Claim(scope=scope_of("pay", placed.order_id), key=key, request_hash=b"same"),
    )
    with pytest.raises(PaymentMethodMissing):
        placing.execute(pay)

    with_default = msgspec.structs.replace(pay, default_payment_method="card")
    assert placing.execute(with_default).attempt == 1
    again = placing.execute(pay)
    assert (again.attempt, again.earlier is None) == (1, False)


def test_a_change_of_an_order_that_has_moved_on_writes_neither_row_nor_history(
    placing: Placing,
) -> None:
    """The lock makes it impossible; should a lock ever be missing, it is undone and repeated."""
    [placed] = placing.place(placement())
    assert isinstance(placed, Written)
    now, origin = read_clock(), Origin(type="command", id="cancel")
    with placing.session.transaction() as cursor:
        [seen] = repository.lock(cursor, [placed.order_id]).values()

    late = cancel(seen, reason=CancelReason.CUSTOMER, now=now)
    moved = with_note(seen, "somebody was here", now=now)
    with placing.session.transaction() as cursor:
        write_changes(cursor, [moved], origin=origin, encode=encode)
    with pytest.raises(Transient), placing.session.transaction() as cursor:
        write_changes(cursor, [late], origin=origin, encode=encode)

    where = f"WHERE order_id = '{placed.order_id}'"
    assert placing.rows(f"SELECT status, revision FROM orders {where}") == [("CREATED", 2)]
    assert placing.rows(f"SELECT count(*) FROM order_history {where}") == [(2,)]


def test_a_new_database_has_no_product(stack: Stack) -> None:
    with empty_database(stack, "placing") as url:
        postgres.migrate(url, MIGRATIONS)
        with postgres.connect(database_settings(url), application_name="test") as connection:
            assert connection.execute("SELECT * FROM product").fetchall() == []


def test_a_fresh_catalogue_is_filled_once_and_somebodys_own_is_left_alone(stack: Stack) -> None:
    with empty_database(stack, "placing") as url, catalogue_api(url) as client:
        operator = cast("httpx2.Client", client)
        assert put_products(operator) == len(PRODUCTS)
        assert put_products(operator) == 0

        gone = PRODUCTS[0]
        put_product(url, gone.sku, prices=gone.prices, name=gone.name, active=False)
        assert put_products(operator) == 0, "what was withdrawn stays withdrawn"
        assert client.get(f"/products/{gone.sku}").json()["active"] is False
        [first] = client.get(f"/products/{PRODUCTS[1].sku}/history").json()["items"]
        assert (first["actor"], first["reason"]) == ("orderflow-up", "demo data")

    with empty_database(stack, "placing") as url, catalogue_api(url) as client:
        put(client, "OUR-OWN", 1)
        assert put_products(cast("httpx2.Client", client)) == 0
        assert [item["sku"] for item in client.get("/products").json()["items"]] == ["OUR-OWN"]


def put(client: TestClient, sku: str, price: int, **headers: str) -> Any:
    body = {"name": "Thing", "prices": {"EUR": price}, "reason": f"to {price}"}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.put(f"/products/{sku}", json=body, headers=sent)


def test_the_history_says_who_changed_a_price_when_and_why(client: TestClient) -> None:
    sku = f"PRICE-{uuid4().hex[:8]}"
    for price, actor in ((100, "anna"), (200, "bert"), (200, "carl"), (300, "dora")):
        assert put(client, sku, price, orderflow_actor=actor).status_code == 200

    page = client.get(f"/products/{sku}/history?limit=2").json()
    assert [
        (item["version"], item["prices"]["EUR"], item["actor"], item["reason"])
        for item in page["items"]
    ] == [(3, 300, "dora", "to 300"), (2, 200, "bert", "to 200")], "a repeat is no change"
    rest = client.get(f"/products/{sku}/history?cursor={page['nextCursor']}").json()
    assert [item["actor"] for item in rest["items"]] == ["anna"]
    assert rest["nextCursor"] is None


def test_a_price_is_not_overwritten_by_somebody_who_has_not_seen_it(client: TestClient) -> None:
    sku = f"ETAG-{uuid4().hex[:8]}"
    first = put(client, sku, 100, if_none_match="*")
    assert (first.status_code, first.headers["etag"]) == (200, '"1"')
    assert put(client, sku, 200, if_none_match="*").status_code == 412
    assert put(client, sku, 200, if_match='"1"').headers["etag"] == '"2"'
    assert put(client, sku, 200, if_match='"1"').status_code == 200, "its answer was lost"
    late = put(client, sku, 300, if_match='"1"')
    assert (late.status_code, late.json()["type"]) == (412, "/problems/precondition-failed")
    assert client.get(f"/products/{sku}").json()["prices"] == {"EUR": 200}


def test_an_operator_changes_adds_and_withdraws_products_on_the_command_line(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def send(method: str, url: str, **request: Any) -> Any:
        del request["timeout"], request["trust_env"], request["verify"]
        return client.request(method, url.removeprefix("http://order"), **request)

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(product.app, ["--url", "http://order", *arguments])
        assert result.exception is None, result.exception
        return result.output

    monkeypatch.setattr(httpx2, "request", send)
    sku = f"CLI-{uuid4().hex[:8]}"
    added = run("set", sku, "--name", "Chair [oak]", "--price", "EUR=100", "--price", "USD=120")
    assert added == f"{sku} costs EUR=100 USD=120 (version 1)\n"
    run("set", sku, "--price", "EUR=200", "--reason", "dearer [wood]", "--as", "anna")
    assert f"{sku}  EUR=200 USD=120  Chair [oak]\n" in run("list")
    assert "withdrawn" in run("set", sku, "--withdraw")
    assert sku not in run("list")

    lines = run("history", sku).splitlines()
    assert [line[0] for line in lines] == ["3", "2", "1"]
    assert lines[1].endswith("anna  EUR=200 USD=120  dearer [wood]")


def test_two_commands_at_once_leave_every_version_in_the_history(client: TestClient) -> None:
    sku = f"RACE-{uuid4().hex[:8]}"
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda price: put(client, sku, price), range(1, 17)))
    assert {answer.status_code for answer in answers} == {200}
    items = client.get(f"/products/{sku}/history").json()["items"]
    assert [item["version"] for item in items] == list(range(16, 0, -1))
    assert sorted(item["prices"]["EUR"] for item in items) == list(range(1, 17))
    assert client.get(f"/products/{sku}").json()["prices"] == items[0]["prices"]


def test_the_catalogue_is_read_a_page_at_a_time(client: TestClient) -> None:
    skus = sorted(f"PAGE-{number}-{uuid4().hex[:6]}" for number in range(5))
    for sku in skus:
        put(client, sku, 1)
    seen = list[str]()
    more: dict[str, str] | None = {}
    while more is not None:
        page = client.get("/products", params={"limit": 2, **more}).json()
        assert len(page["items"]) <= 2
        seen += [item["sku"] for item in page["items"]]
        more = {"cursor": page["nextCursor"]} if page["nextCursor"] else None
    assert [sku for sku in seen if sku in skus] == skus


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ({"name": "", "prices": {"EUR": 1}}, {}),
        ({"name": "a\x00b", "prices": {"EUR": 1}}, {}),
        ({"name": "Thing", "prices": {}}, {}),
        ({"name": "Thing", "prices": {"eur": 1}}, {}),
        ({"name": "Thing", "prices": {"EUR": 1, "QQQ": 1}}, {}),
        ({"name": "Thing", "prices": {"EUR": -1}}, {}),
        ({"name": "Thing", "prices": {"EUR": 1.5}}, {}),
        ({"name": "Thing", "prices": {"EUR": 10**12}}, {}),
        ({"name": "Thing", "prices": {"EUR": 1}, "reason": ""}, {}),
        ({"name": "Thing", "prices": {"EUR": 1}, "sku": "OTHER"}, {}),
        ({"name": "Thing", "prices": {"EUR": 1}}, {"if-match": "1"}),
        ({"name": "Thing", "prices": {"EUR": 1}}, {"if-none-match": '"1"'}),
        ({"name": "Thing", "prices": {"EUR": 1}}, {"orderflow-actor": "two words"}),
    ],
)
def test_a_wrong_command_is_422_and_changes_nothing(
    client: TestClient, body: dict[str, Any], headers: dict[str, str]
) -> None:
    answer = client.put("/products/WRONG", json=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-request")
    assert client.get("/products/WRONG").status_code == 404
    assert client.get("/products/WRONG/history").status_code == 404
