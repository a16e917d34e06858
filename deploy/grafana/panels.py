"""
`python -m deploy.grafana.panels`: write the dashboards that Grafana provisions, as JSON.

A panel is a line here: title with unit, what to look for, queries with their legends. The files in
`dashboards/` are what this says; a test compares them, and holds each query against what is
measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import NamedTuple

from grafana_foundation_sdk.builders import common, prometheus, timeseries
from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef

FOLDER = Path(__file__).parent / "dashboards"
SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
COLUMNS, PANELS_IN_A_ROW, HEIGHT = 24, 2, 8

SECONDS, RECORDS, PER_SECOND, BYTES, PART, COUNT = (
    "s",
    "short",
    "cps",
    "bytes",
    "percentunit",
    "none",
)
TITLED = {SECONDS: "s", PER_SECOND: "1/s", BYTES: "bytes", PART: "%", RECORDS: "records"}
"""How a unit of Grafana's stands in a title."""


class Panel(NamedTuple):
    """`queries`: legend → query. A title says what, the unit follows it by itself."""

    title: str
    unit: str
    look_for: str
    queries: dict[str, str]


class Board(NamedTuple):
    """`sections`: heading → panels."""

    uid: str
    title: str
    sections: dict[str, Sequence[Panel]]


def rate(metric: str, by: str = "") -> str:
    return f"sum{f' by ({by}) ' if by else ''}(rate({metric}[$__rate_interval]))"


def quantile(share: float, histogram: str, by: str = "") -> str:
    labels = ", ".join(label for label in ("le", by) if label)
    buckets = f"sum by ({labels}) (rate({histogram}_bucket[$__rate_interval]))"
    return f"histogram_quantile({share}, {buckets})"


def quantiles(histogram: str) -> dict[str, str]:
    return {
        "half": quantile(0.5, histogram),
        "95 %": quantile(0.95, histogram),
        "99 %": quantile(0.99, histogram),
    }


REQUESTS = "http_server_request_duration_seconds"
PLACED = '{http_request_method="POST",http_route="/orders"}'

ORDERS = Board(
    "orderflow-orders",
    "Orderflow: orders",
    {
        "What customers notice": (
            Panel(
                "Orders late",
                PART,
                "Part of the orders that were not settled within 5 s; 1 % may be. Above 14.4 %"
                " somebody is called. Runbook: orders-are-late.",
                {
                    "last 5 minutes": "orderflow:orders_late:ratio_rate5m",
                    "last hour": "orderflow:orders_late:ratio_rate1h",
                    "last 6 hours": "orderflow:orders_late:ratio_rate6h",
                    "last 3 days": "orderflow:orders_late:ratio_rate3d",
                },
            ),
            Panel(
                "Requests for orders that fail",
                PART,
                "Part of POST /orders answered with 5xx; 0.1 % may be."
                " Runbook: orders-are-not-taken.",
                {
                    "last 5 minutes": "orderflow:order_requests_failed:rate5m"
                    " / orderflow:order_requests:rate5m",
                    "last hour": "orderflow:order_requests_failed:rate1h"
                    " / orderflow:order_requests:rate1h",
                },
            ),
            Panel(
                "From POST until settled",
                SECONDS,
                "How long orders take until paid and decided, failed or cancelled. All three rise:"
                " a stage is slow; only 99 %: a few orders wait for something.",
                quantiles("orderflow_order_settled_seconds"),
            ),
            Panel(
                "Orders stuck, by what they wait for",
                COUNT,
                "0 is right. Nobody but an operator moves these. Runbook: stuck-order.",
                {"{{waits_for}}": "max by (waits_for) (orderflow_orders_stuck)"},
            ),
        ),
        "The edge": (
            Panel(
                "POST /orders, by status",
                PER_SECOND,
                "201 is an order. A rise of 4xx is a client's mistake, of 503 too much load.",
                {
                    "{{http_response_status_code}}": rate(
                        f"{REQUESTS}_count{PLACED}", "http_response_status_code"
                    )
                },
            ),
            Panel(
                "Time to answer, 95 % of the requests, by route",
                SECONDS,
                "One route is slow: its query. All are: the database, or the machine.",
                {"{{http_route}}": quantile(0.95, REQUESTS, "http_route")},
            ),
            Panel(
                "Requests that wait for their commit",
                COUNT,
                "Some at a burst. Stays up: the database does not keep up; then 503 follows.",
                {"{{process}}": "sum by (process) (orderflow_group_commit_queue_requests)"},
            ),
            Panel(
                "Group commit",
                SECONDS,
                "How long one transaction for many requests takes. Rises: the database's disk.",
                quantiles("orderflow_group_commit_seconds"),
            ),
        ),
    },
)

FLOW = Board(
    "orderflow-flow",
    "Orderflow: flow and lag",
    {
        "Who is behind": (
            Panel(
                "Lag, by group and topic",
                SECONDS,
                "Age of the oldest record not read. 0 when idle. Whoever rose first is the cause;"
                " those behind it follow. Runbook: consumer-lag.",
                {
                    "{{consumergroup}} {{topic}}": "max by (consumergroup, topic)"
                    " (kafka_consumergroup_lag_seconds)"
                },
            ),
            Panel(
                "Lag, by group and topic (number)",
                RECORDS,
                "Records not read. Falls steadily: it works off, and needs no help.",
                {"{{consumergroup}} {{topic}}": "kafka_consumergroup_lag_sum"},
            ),
            Panel(
                "Oldest row in the outbox",
                SECONDS,
                "Rises: the relay does not publish, and no group shows any lag of it."
                " Runbook: outbox-waits.",
                {"{{service}}": "max by (service) (orderflow_outbox_pending_oldest_seconds)"},
            ),
            Panel(
                "Dead letters open",
                COUNT,
                "0 is right. Each waits for somebody's decision. Runbook: dead-letters.",
                {
                    "{{consumergroup}} {{topic}}": "max by (consumergroup, topic)"
                    " (orderflow_dead_letters_open)"
                },
            ),
        ),
        "Whether all is there": (
            Panel(
                "Differences in the books, by check",
                COUNT,
                "0 is right. Something was lost or done twice. Runbook: books-differ.",
                {"{{check}}": "max by (check) (orderflow_books_differences)"},
            ),
            Panel(
                "In flight in the books, by check",
                COUNT,
                "Not decided, since it is under way. Falls back; grows with the lag behind it.",
                {"{{check}}": "max by (check) (orderflow_books_in_flight)"},
            ),
            Panel(
                "Last audit of the books, how old",
                SECONDS,
                "A minute or two. Above a quarter of an hour: runbook books-differ.",
                {"last": "max(orderflow_books_age_seconds)"},
            ),
            Panel(
                "Oldest open dead letter",
                SECONDS,
                "How long somebody's order has waited for a decision. Runbook: dead-letters.",
                {
                    "{{consumergroup}} {{topic}}": "max by (consumergroup, topic)"
                    " (orderflow_dead_letters_open_oldest_seconds)"
                },
            ),
        ),
        "Listeners": (
            Panel(
                "Records, by listener and how they ended",
                PER_SECOND,
                "Drops to 0 with a lag: it waits or has ended. Dead letters and waiting are rare.",
                {
                    "{{listener}} {{outcome}}": rate(
                        "orderflow_listener_records_total", "listener, outcome"
                    )
                },
            ),
            Panel(
                "Oldest record that waits in place",
                SECONDS,
                "Rises while a resource is away or a payment's end is unknown. Others go on.",
                {"{{listener}}": "max by (listener) (orderflow_listener_waiting_oldest_seconds)"},
            ),
            Panel(
                "Gates closed",
                COUNT,
                "1 while a listener waits for a resource. Runbook: listener-waits.",
                {
                    "{{listener}}: {{resource}}": "max by (listener, resource)"
                    " (orderflow_listener_gate_closed)"
                },
            ),
            Panel(
                "Failed attempts and repeats absorbed",
                PER_SECOND,
                "Attempts: a handler fails, dead letters follow. Repeats: an inbox did its work;"
                " many of them after a kill or a replay are right.",
                {
                    "{{listener}} failed": rate(
                        "orderflow_listener_failed_attempts_total", "listener"
                    ),
                    "{{listener}} repeats": rate("orderflow_inbox_repeats_total", "listener"),
                },
            ),
            Panel(
                "Handler, 95 % of the waves",
                SECONDS,
                "Rises: the resource of this group is slow.",
                {
                    "{{messaging_consumer_group_name}}": quantile(
                        0.95, "messaging_process_duration_seconds", "messaging_consumer_group_name"
                    )
                },
            ),
            Panel(
                "Commit, 95 % of the turns",
                SECONDS,
                "Rises for all listeners: brokers or database are slow.",
                {"{{listener}}": quantile(0.95, "orderflow_listener_commit_seconds", "listener")},
            ),
            Panel(
                "Rebalances and new producers",
                PER_SECOND,
                "Some at a deployment. All the time: members come and go, or producers are fenced.",
                {
                    "{{listener}} rebalances": rate(
                        "orderflow_listener_rebalances_total", "listener"
                    ),
                    "{{listener}} producers": rate(
                        "orderflow_listener_producer_renewals_total", "listener"
                    ),
                },
            ),
            Panel(
                "Messages sent, by topic and type",
                PER_SECOND,
                "What becomes of orders. StockRejected or PaymentFailed rise: look at the shop.",
                {
                    "{{messaging_destination_name}} {{orderflow_event_type}}": rate(
                        "messaging_client_sent_messages_total",
                        "messaging_destination_name, orderflow_event_type",
                    )
                },
            ),
        ),
    },
)

MONEY = Board(
    "orderflow-money",
    "Orderflow: payments and money",
    {
        "Open": (
            Panel(
                "Payments with an unknown end",
                COUNT,
                "Some while the provider stumbles; they are asked for again.",
                {"payments": "max(orderflow_payment_unknown)"},
            ),
            Panel(
                "Oldest payment with an unknown end",
                SECONDS,
                "Falls back to 0. Above 10 minutes: runbook payments-unknown.",
                {"oldest": "max(orderflow_payment_unknown_oldest_seconds)"},
            ),
            Panel(
                "Refunds owed",
                COUNT,
                "Customers' money that the provider has not given back.",
                {"refunds": "max(orderflow_payment_refunds_owed)"},
            ),
            Panel(
                "Oldest refund owed",
                SECONDS,
                "Falls back to 0. Above an hour: runbook refunds-owed.",
                {"oldest": "max(orderflow_payment_refunds_owed_oldest_seconds)"},
            ),
        ),
        "The provider": (
            Panel(
                "Calls, by operation and how they ended",
                PER_SECOND,
                "Declined is the customer's. Errors and time-outs are the provider's.",
                {
                    "{{operation}} {{ended}}": rate(
                        "orderflow_payment_provider_calls_total", "operation, ended"
                    )
                },
            ),
            Panel(
                "Call, 95 % of them, by operation",
                SECONDS,
                "Rises: orders are late, and it is the provider's part.",
                {
                    "{{operation}}": quantile(
                        0.95, "orderflow_payment_provider_call_seconds", "operation"
                    )
                },
            ),
            Panel(
                "Webhooks, by what they did",
                PER_SECOND,
                "Refused ones: secrets differ, or somebody else sends them.",
                {"{{effect}}": rate("orderflow_payment_webhooks_total", "effect")},
            ),
            Panel(
                "Answers that nobody can use",
                PER_SECOND,
                "0 is right. The provider's interface may have changed.",
                {
                    "{{operation}} {{kind}}": rate(
                        "orderflow_payment_provider_unusable_answers_total", "operation, kind"
                    )
                },
            ),
        ),
        "What is told": (
            Panel(
                "Revenue is behind by",
                SECONDS,
                "Half a second to two. Above a minute: runbook revenue-is-stale.",
                {"behind": "max(orderflow_revenue_freshness_seconds)"},
            ),
            Panel(
                "Restore, records left",
                RECORDS,
                "Falls to 0 within seconds after a start. Runbook: restore-takes-long.",
                {"{{listener}}": "sum by (listener) (orderflow_streams_restore_records_left)"},
            ),
            Panel(
                "Mails that wait",
                COUNT,
                "Falls back to 0. Stays: runbook mail-does-not-go-out.",
                {"mails": "max(orderflow_mail_pending)"},
            ),
            Panel(
                "Oldest mail that waits",
                SECONDS,
                "Above 10 minutes: the mail server is away, or refuses one customer.",
                {"oldest": "max(orderflow_mail_pending_oldest_seconds)"},
            ),
        ),
    },
)

PLATFORM = Board(
    "orderflow-platform",
    "Orderflow: broker and database",
    {
        "Brokers": (
            Panel(
                "Brokers that answer",
                COUNT,
                "As many as there should be. Runbook: broker-is-away.",
                {"brokers": "max(kafka_brokers)"},
            ),
            Panel(
                "Partitions under-replicated, by topic",
                COUNT,
                "0 is right; falls after a broker came back.",
                {"{{topic}}": "sum by (topic) (kafka_topic_partition_under_replicated_partition)"},
            ),
            Panel(
                "Oldest open transaction, by topic",
                SECONDS,
                "Seconds under load. Grows beyond 15: it hangs. Runbook: hanging-transaction.",
                {"{{topic}}": "max by (topic) (orderflow_open_transaction_seconds)"},
            ),
            Panel(
                "Records written, by topic",
                PER_SECOND,
                "The load. A topic that stands still while those before it move: its writer.",
                {"{{topic}}": rate("kafka_topic_partition_current_offset", "topic")},
            ),
        ),
        "Relays and outboxes": (
            Panel(
                "Outbox rows that wait",
                COUNT,
                "Falls back after each burst.",
                {"{{service}}": "max by (service) (orderflow_outbox_pending_rows)"},
            ),
            Panel(
                "Log kept for the slot",
                BYTES,
                "Falls back. At 2 GiB the slot is lost. Runbook: outbox-waits.",
                {"{{service}}": "max by (service) (orderflow_outbox_slot_lag_bytes)"},
            ),
            Panel(
                "Relays that stream",
                COUNT,
                "1 for each service; 0 for minutes: runbook relay-refuses.",
                {"{{relay}}": "sum by (relay) (orderflow_relay_streaming)"},
            ),
            Panel(
                "Relay: aborts and restarts",
                PER_SECOND,
                "Some when a broker stumbles. All the time: the relay's log says why.",
                {
                    "{{relay}} aborts": rate("orderflow_relay_aborts_total", "relay"),
                    "{{relay}} restarts": rate("orderflow_relay_restarts_total", "relay"),
                },
            ),
        ),
        "Processes": (
            Panel(
                "Processes that answer",
                COUNT,
                "1 each. A gap: what the process measures is missing. Runbook: process-is-down.",
                {"{{process}}": 'up{job="orderflow"}'},
            ),
            Panel(
                "CPU, by process (cores)",
                COUNT,
                "Near 1: the process is at its limit; start another slot.",
                {"{{process}}": rate("process_cpu_seconds_total", "process")},
            ),
            Panel(
                "Memory, by process",
                BYTES,
                "Level. Grows for days: a leak.",
                {"{{process}}": "max by (process) (process_resident_memory_bytes)"},
            ),
            Panel(
                "Spans, by what became of them",
                PER_SECOND,
                "Failed or dropped: traces have gaps. Runbook: spans-fail.",
                {"{{outcome}}": rate("orderflow_spans_total", "outcome")},
            ),
        ),
    },
)

BOARDS = (ORDERS, FLOW, MONEY, PLATFORM)


def drawn(panel: Panel, number: int) -> timeseries.Panel:
    unit = TITLED.get(panel.unit)
    built = (
        timeseries.Panel()
        .id(number)
        .title(f"{panel.title} [{unit}]" if unit else panel.title)
        .description(panel.look_for)
        .unit(panel.unit)
        .min(0)
        .datasource(SOURCE)
        .legend(
            common.VizLegendOptions()
            .placement(LegendPlacement.BOTTOM)
            .show_legend(show_legend=True)
        )
        .span(COLUMNS // PANELS_IN_A_ROW)
        .height(HEIGHT)
    )
    for name, (legend, query) in zip("ABCD", panel.queries.items(), strict=False):
        built = built.with_target(
            prometheus.Dataquery().expr(query).legend_format(legend).ref_id(name)
        )
    return built


def written(board: Board) -> str:
    """A dashboard as Grafana reads it."""
    dashboard = (
        Dashboard(board.title)
        .uid(board.uid)
        .tags(["orderflow"])
        .refresh("30s")
        .time("now-1h", "now")
        .readonly()
    )
    numbers = count(1)
    for heading, panels in board.sections.items():
        dashboard = dashboard.with_row(Row(heading).id(next(numbers)))
        for panel in panels:
            dashboard = dashboard.with_panel(drawn(panel, next(numbers)))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(dashboard.build())}\n"


def files() -> Iterator[tuple[Path, str]]:
    for board in BOARDS:
        yield FOLDER / f"{board.uid}.json", written(board)


if __name__ == "__main__":
    for file, text in files():
        file.write_text(text, encoding="utf-8")
