"""The OpenAPI document, made of the types that parse requests and answer them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from types import MappingProxyType

import msgspec

from orderflow.contracts.events import OrderLine, OrderStatus
from orderflow.messaging.documents import openapi
from orderflow.messaging.documents.openapi import (
    ProblemDocument,
    Schema,
    Schemas,
    header_parameter,
    operation,
    path_parameter,
    query_parameter,
)
from orderflow.messaging.http.actor import ReasonRequest
from orderflow.services.order.http import examples, products
from orderflow.services.order.http.list_orders import LIMIT_DEFAULT, LIMIT_MAX
from orderflow.services.order.http.operators import RetriedView
from orderflow.services.order.http.products import (
    ProductHistoryPage,
    ProductPage,
    ProductRequest,
)
from orderflow.services.order.http.requests import OrderRequest, PayRequest, ShortOrderRequest
from orderflow.services.order.http.views import (
    SHORT_MESSAGE,
    HistoryPage,
    OrderPage,
    OrderView,
)
from orderflow.services.order.model import Action, Order
from orderflow.services.order.products import ListedProduct

TITLE = "Orderflow: order API"
DESCRIPTION = """
Orders from their placing to their delivery. Amounts are in minor units (cents) with a currency of
ISO 4217; moments are UTC.

`paymentMode` says how an order is paid: `AUTOMATIC` (the default of `POST /orders`) asks for the
payment at once, `ON_REQUEST` (the default of `POST /api/orders`) with a pay command. An order whose
last payment failed has the cause in `payment.reason` and `payment.message`.

With the local stack's simulated provider, `paymentMethod` decides what becomes of a payment:

| paymentMethod | what becomes of it |
|---|---|
| `pm_ok` | is captured |
| `pm_declined`, and any that is not known | is declined |
| `pm_pending` | is pending, then captured |
| `pm_pending_declined` | is pending, then declined |
| `pm_pending_firm` | is pending, then captured, also if the order was cancelled meanwhile |
| `pm_slow` | is captured, but the provider's first answer comes late |
| `pm_reply_lost` | is captured, but the provider's first answer is lost |
| `pm_dropped` | is captured, but the first request is lost |
| `pm_error_after_commit` | is captured, but the provider first answers with an error |
""".strip()


class ConflictDocument(ProblemDocument, kw_only=True, omit_defaults=True):
    """The order's status, and the commands that it allows."""

    order_status: OrderStatus = msgspec.field(name="orderStatus")
    allowed_actions: tuple[Action, ...] = msgspec.field(name="allowedActions")


class PriceChangedDocument(ProblemDocument, kw_only=True, omit_defaults=True):
    """What the order would cost now."""

    currency: str
    amount_minor: int = msgspec.field(name="amountMinor")
    lines: tuple[OrderLine, ...]


_EXAMPLES: dict[type, tuple[Schema, Schema]] = {
    OrderRequest: (
        {"customerId": "customer-123", "lines": [{"sku": "KEYBOARD-01", "quantity": 2}]},
        examples.shown(examples.CREATED),
    ),
    ShortOrderRequest: (
        {"customerId": "customer-123"},
        examples.shown(examples.ON_REQUEST, message=SHORT_MESSAGE),
    ),
}
_PROBLEMS = {
    "400": "The body is not JSON, or the Idempotency-Key is malformed",
    "413": "The body is longer than 64 KiB",
    "415": "The body is not declared as application/json",
    "422": (
        "A field is unknown or wrong, a rule is broken, "
        "or the Idempotency-Key belongs to another body"
    ),
    "503": "Starting, too busy, or the database is away: try again after Retry-After seconds",
}
_NO_SUCH = {"404": "There is no such order"}
_BODY = {
    "400": "The body is not JSON",
    "413": "The body is longer than 64 KiB",
    "415": "The body is not declared as application/json",
    "422": "A field is unknown or wrong, or the actor is no name",
}
_OPERATORS_BODY = {
    **_BODY,
    "400": _PROBLEMS["400"],
    "422": (
        "A field is unknown or wrong, the actor is no name, "
        "or the Idempotency-Key belongs to another body"
    ),
}
_NO_SUCH_PRODUCT = {"404": "There is no such product"}
_AWAY = {"503": "The database is away"}


@cache
def document() -> Schema:
    schemas = Schemas(
        OrderRequest,
        ShortOrderRequest,
        PayRequest,
        OrderView,
        OrderPage,
        HistoryPage,
        ProductRequest,
        ListedProduct,
        ProductPage,
        ProductHistoryPage,
        RetriedView,
        ReasonRequest,
        ConflictDocument,
        PriceChangedDocument,
        uuids=("orderId", "paymentId", "eventId"),
    )

    paths = {
        **_order_paths(schemas),
        **_command_paths(schemas),
        "/orders/{orderId}/retry": {"post": _retry(schemas)},
        "/orders/{orderId}/cancel-by-operator": {"post": _cancel_by_operator(schemas)},
        **_product_paths(schemas),
    }
    paths = _under_api_too(paths)
    return openapi.document(TITLE, DESCRIPTION, paths=paths, schemas=schemas)


def _under_api_too(paths: Schema) -> Schema:
    """As the routes are: see `api`."""
    every = {**paths}
    for path, operations in paths.items():
        if not path.startswith("/api"):
            copies = {
                method: {name: part for name, part in described.items() if name != "operationId"}
                for method, described in operations.items()
            }
            every[f"/api{path}"] = {**copies, **paths.get(f"/api{path}", {})}
    return every


def _order_paths(schemas: Schemas) -> Schema:
    placed = _post(
        schemas,
        OrderRequest,
        name="placeOrder",
        summary="Place an order; its first payment is asked for at once, unless it is ON_REQUEST",
    )
    placed_short = _post(
        schemas,
        ShortOrderRequest,
        name="placeOrderApi",
        summary="Place an order in the short form; nothing is charged until asked",
    )

    return {
        "/orders": {"get": _list(schemas), "post": placed},
        "/api/orders": {"post": placed_short},
        "/orders/{orderId}": {"get": _get(schemas)},
        "/orders/{orderId}/history": {"get": _history(schemas)},
    }


def _command_paths(schemas: Schemas) -> Schema:
    operations = {
        "pay": _pay(schemas),
        "ship": _ship(schemas),
        "deliver": _deliver(schemas),
        "cancel": _cancel(schemas),
    }
    return {
        f"/orders/{{orderId}}/{command}": {"post": described}
        for command, described in operations.items()
    }


def _get(schemas: Schemas) -> Schema:
    order = _order(schemas, "The order", example=examples.shown(examples.PAID))
    problems = schemas.problems({**_NO_SUCH, **_AWAY})
    return operation("An order", {"200": order, **problems}, parameters=[_ORDER_ID])


def _product_paths(schemas: Schemas) -> Schema:
    wrong = {"422": "A parameter is unknown, repeated or wrong; the detail names it"}
    listed = schemas.answer(
        "A page; nextCursor leads to the next, if there is one",
        ProductPage,
        example=examples.PRODUCTS,
    )
    history = schemas.answer(
        "A page; nextCursor leads to the next, if there is one",
        ProductHistoryPage,
        example=examples.PRODUCT_HISTORY,
    )

    return {
        "/products": {
            "get": operation(
                "What can be ordered, by SKU, a page at a time; prices in minor units",
                {"200": listed, **schemas.problems({**_AWAY, **wrong})},
                parameters=_PAGE_OF_PRODUCTS,
            )
        },
        "/products/{sku}": {"get": _get_product(schemas), "put": _put_product(schemas)},
        "/products/{sku}/history": {
            "get": operation(
                "Every version of a product, newest first: what it was, by whom and why",
                {"200": history, **schemas.problems({**_NO_SUCH_PRODUCT, **_AWAY, **wrong})},
                parameters=[_SKU, *_PAGE_OF_PRODUCTS],
            )
        },
    }


def _get_product(schemas: Schemas) -> Schema:
    return operation(
        "A product, withdrawn or not",
        {"200": _product(schemas), **schemas.problems({**_NO_SUCH_PRODUCT, **_AWAY})},
        parameters=[_SKU],
    )


def _put_product(schemas: Schemas) -> Schema:
    problems = {code: _PROBLEMS[code] for code in ("413", "415")} | {
        "400": "The body is not JSON",
        "412": "The product has another version than If-Match, or exists in spite of If-None-Match",
        "422": "A field or header is unknown or wrong",
        **_AWAY,
    }

    return {
        **operation(
            "For operators: a new product, another name or price, or active: false to withdraw it. "
            "In force with the answer; a repeat changes nothing",
            {"200": _product(schemas), **schemas.problems(problems)},
            parameters=[_SKU, openapi.ACTOR, _IF_MATCH, _IF_NONE_MATCH],
        ),
        "requestBody": schemas.request(ProductRequest, example=examples.PUT_PRODUCT),
    }


def _product(schemas: Schemas) -> Schema:
    answer = schemas.answer(
        "The product", ListedProduct, example=examples.as_json(examples.PRODUCT)
    )
    return {
        **answer,
        "headers": {"ETag": {"schema": {"type": "string"}, "description": "Its version"}},
    }


def _post(schemas: Schemas, request: type, *, name: str, summary: str) -> Schema:
    request_example, answer_example = _EXAMPLES[request]
    created = schemas.answer(
        "Placed: the order is committed, its events will be on Kafka",
        OrderView,
        example=answer_example,
    )
    created["headers"] = {**_LOCATION, **_ETAG}
    changed = schemas.problem(
        "It costs something else than the client expects; nothing was placed, the key is free",
        PriceChangedDocument,
    )

    return {
        "operationId": name,
        **operation(
            summary,
            {"201": created, "409": changed, **schemas.problems(_PROBLEMS)},
            parameters=[_IDEMPOTENCY_KEY],
        ),
        "requestBody": schemas.request(request, example=request_example),
    }


def _list(schemas: Schemas) -> Schema:
    return operation(
        "Orders, newest first, a page at a time, each with what it waits for",
        {
            "200": schemas.answer(
                "A page; nextCursor leads to the next, if there is one",
                OrderPage,
                example=examples.PAGE,
            ),
            **schemas.problems(
                {**_AWAY, "422": "A parameter is unknown, repeated or wrong; the detail names it"}
            ),
        },
        parameters=_FILTERS,
    )


def _history(schemas: Schemas) -> Schema:
    return operation(
        "An order's status changes, oldest first; with all=true every revision",
        {
            "200": schemas.answer("The history", HistoryPage, example=examples.HISTORY),
            **schemas.problems({**_NO_SUCH, **_AWAY, "422": "all is neither true nor false"}),
        },
        parameters=[_ORDER_ID, _ALL],
    )


def _pay(schemas: Schemas) -> Schema:
    described = _command(
        schemas,
        "Ask for payment, and wait for how it ends",
        done=(
            "Paid and stock settled; or the payment FAILED; or the order CANCELLED: "
            "see status, payment and stock"
        ),
        example=examples.PAID,
        others={
            "202": _later(
                schemas,
                "Asked for, and not known yet how it ends: see Location",
                example=examples.CREATED,
            ),
        },
        parameters=[_PREFER],
    )

    return {
        **described,
        "requestBody": schemas.request(
            PayRequest, example={"paymentMethod": "pm_ok"}, required=False
        ),
    }


def _ship(schemas: Schemas) -> Schema:
    return _command(
        schemas,
        "Ship a paid order; waits while it is not known whether there is stock",
        done="Shipped",
        example=examples.SHIPPED,
        others={
            "202": _later(
                schemas,
                "Accepted: it will be shipped once its stock is reserved",
                example=examples.UNSETTLED,
            )
        },
        parameters=[_PREFER],
    )


def _deliver(schemas: Schemas) -> Schema:
    return _command(
        schemas,
        "Say that a shipped order was delivered",
        done="Delivered",
        example=examples.DELIVERED,
    )


def _cancel(schemas: Schemas) -> Schema:
    return _command(
        schemas,
        "Cancel an order that has not left the house; what was paid is refunded",
        done="Cancelled",
        example=examples.CANCELLED,
    )


def _retry(schemas: Schemas) -> Schema:
    retried = schemas.answer(
        "What caused it is on its way once more", RetriedView, example=examples.RETRIED
    )

    described = operation(
        "For operators: publish again what caused the payment, stock, refund or release "
        "that an order waits for",
        {
            "202": retried,
            "409": schemas.problem(
                "It waits for nothing that this would bring; the detail says what to do instead",
                ConflictDocument,
            ),
            "412": _overtaken(schemas),
            **schemas.problems(
                {
                    **_NO_SUCH,
                    **_OPERATORS_BODY,
                    "429": "It was asked for a moment ago: what comes of it is on its way",
                    "503": "Starting, the database is away, or the order moved on meanwhile",
                }
            ),
        },
        parameters=_OF_OPERATORS,
    )

    return {**described, "requestBody": _reason(schemas)}


def _cancel_by_operator(schemas: Schemas) -> Schema:
    described = operation(
        "For operators: cancel an order that has not left the house (reason OPERATOR); "
        "what was paid is refunded",
        {
            "200": _order(schemas, "Cancelled", example=examples.shown(examples.CANCELLED)),
            "409": schemas.problem("The order's status does not allow it", ConflictDocument),
            "412": _overtaken(schemas),
            **schemas.problems(
                {**_NO_SUCH, **_OPERATORS_BODY, "503": "Starting, or the database is away"}
            ),
        },
        parameters=_OF_OPERATORS,
    )

    return {
        "operationId": "cancelOrderByOperator",
        **described,
        "requestBody": _reason(schemas),
    }


def _overtaken(schemas: Schemas) -> Schema:
    return schemas.problem("The order has another revision than If-Match", ConflictDocument)


def _reason(schemas: Schemas) -> Schema:
    return schemas.request(ReasonRequest, example={"reason": "the customer called"}, required=False)


def _command(
    schemas: Schemas,
    summary: str,
    *,
    done: str,
    example: Order,
    others: Mapping[str, Schema] = MappingProxyType({}),
    parameters: Sequence[Schema] = (),
) -> Schema:
    refused = {
        "404": "There is no such order, or it is not this customer's",
        "503": "Starting, or the database is away",
    }

    return operation(
        summary,
        {
            "200": _order(schemas, done, example=examples.shown(example)),
            **others,
            "412": _overtaken(schemas),
            **schemas.problems({code: _PROBLEMS[code] for code in ("400", "413", "415", "422")}),
            "409": schemas.problem("The order's status does not allow it", ConflictDocument),
            **schemas.problems(refused),
        },
        parameters=[_ORDER_ID, _CUSTOMER_ID, _IF_REVISION, _IDEMPOTENCY_KEY, *parameters],
    )


def _later(schemas: Schemas, description: str, *, example: Order) -> Schema:
    return {
        **schemas.answer(description, OrderView, example=examples.shown(example)),
        "headers": {**_LOCATION, **_ETAG},
    }


def _order(schemas: Schemas, description: str, *, example: Schema) -> Schema:
    return {**schemas.answer(description, OrderView, example=example), "headers": _ETAG}


_IF_REVISION = header_parameter(
    "If-Match", {"type": "string"}, "The ETag that was read: 412 if the order has changed since"
)
_ETAG = {"ETag": {"schema": {"type": "string"}, "description": "The order's revision, in quotes"}}
_SKU = path_parameter("sku", openapi.IDENTIFIER_SCHEMA)
_IF_MATCH = header_parameter(
    "If-Match",
    {"type": "string"},
    "The ETag that was read: 412 if the product has changed since",
)
_IF_NONE_MATCH = header_parameter(
    "If-None-Match",
    {"type": "string", "enum": ["*"]},
    "Only if there is no such product yet: 412 otherwise",
)
_ORDER_ID = path_parameter("orderId", openapi.UUID_SCHEMA)
_CUSTOMER_ID = query_parameter(
    "customerId", openapi.IDENTIFIER_SCHEMA, "If given, the order must be this customer's"
)
_ALL = query_parameter("all", {"type": "boolean", "default": False}, "Every revision, facts too")
_IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
    "description": (
        "The same key and body give the first answer again for 24 hours, with the header "
        "Idempotent-Replayed; another body is 422. A key is the customer's, or the order's, own"
    ),
}
_OF_OPERATORS = [_ORDER_ID, openapi.ACTOR, _IF_REVISION, _IDEMPOTENCY_KEY]
_PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "examples": ["wait=2"]},
    "description": (
        "wait=n: be content with 202 after n seconds (RFC 7240); at most 10, which is the default. "
        "Preference-Applied says what was understood"
    ),
}
_LOCATION = {"Location": {"schema": {"type": "string"}, "description": "/orders/{orderId}"}}
_MOMENT = {"type": "string", "format": "date-time"}
_STATUSES = {
    "type": "array",
    "items": {"type": "string", "enum": [status.value for status in OrderStatus]},
}
_FILTERS = [
    query_parameter("customerId", openapi.IDENTIFIER_SCHEMA, "Only this customer's"),
    query_parameter("status", _STATUSES, "Only in one of these; repeated, or separated by commas"),
    query_parameter("from", _MOMENT, "Created at that moment or later, RFC 3339"),
    query_parameter("to", _MOMENT, "Created before that moment"),
    query_parameter(
        "stuck",
        {"type": "boolean", "default": False},
        "Only those past the deadline of what they wait for, the longest wait first",
    ),
    query_parameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT},
        "Items on a page",
    ),
    query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before"),
]
_PAGE_OF_PRODUCTS = [
    query_parameter(
        "limit",
        {
            "type": "integer",
            "minimum": 1,
            "maximum": products.LIMIT_MAX,
            "default": products.LIMIT_DEFAULT,
        },
        "Items on a page",
    ),
    query_parameter("cursor", {"type": "string"}, "The nextCursor of the page before"),
]
