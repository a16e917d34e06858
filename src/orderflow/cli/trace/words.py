"""What happened in a sentence, for somebody who answers a customer. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

from orderflow.cli.trace.story import OPEN, Node
from orderflow.contracts.currencies import amount_text
from orderflow.messaging.errors import Poison


def in_words(node: Node) -> str:
    """One node, without its time."""
    return _WORDS[node.kind](node)


def duration(ms: float) -> str:
    """`57 ms`, `5.0 s`, `2 min 3 s`, `3 h 20 min`, `4 d 2 h`: two units at most."""
    if abs(ms) < 1_000:
        return f"{ms:.0f} ms"
    if abs(ms) < 60_000:
        return f"{ms / 1000:.1f} s"

    seconds = int(ms // 1000)
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, size in units:
        if seconds >= size or parts:
            parts.append(f"{seconds // size} {unit}")
            seconds %= size
        if len(parts) == 2:
            break
    return " ".join(part for part in parts if not part.startswith("0 "))


def lasted(span: timedelta) -> str:
    return duration(span.total_seconds() * 1000)


def roughly(span: timedelta) -> str:
    """`12 s`, `3 min`, `4 h`, `2 d`: whole ones of the largest unit; what is negative is 0 s."""
    seconds = max(0, int(span.total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _act(node: Node) -> str:
    who = f" by {node.actor}" if node.actor else ""
    why = f', because "{node.reason}"' if node.reason else ""
    given = {
        "command": f"command {node.caused_by}{who}{why}",
        "deadline": f"a deadline passed ({node.caused_by})",
        "operator": f"operator's act {node.caused_by}{who}{why}",
    }[str(node.type)]
    return f"{given}: {_state(node)}"


def _change(node: Node) -> str:
    return f"order: {_state(node)}"


def _state(node: Node) -> str:
    # Only a change of status publishes an event.
    return f"{node.what} ({node.outcome}, version {node.version})" if node.event_id else node.what


def _record(node: Node) -> str:
    name = node.what
    status = (node.details or {}).get("status")
    if status:
        name = f"{name} {status}"
    if node.outcome == "unreadable":
        return f"{name}, which nobody can make an event of, on {node.place}"
    if node.outcome == "again":
        return f"{name} again, the same event, on {node.place}"

    late = "" if node.took_ms is None else f", published after {duration(node.took_ms)}"
    return f"{name} on {node.place}{late}"


def _replay(node: Node) -> str:
    return f"{node.what} sent back for the {_times(node.attempts or 1)} time, on {node.place}"


def _dead_letter(node: Node) -> str:
    attempts = ""
    if node.attempts is not None:
        attempts = "" if not node.attempts else f" after {_tries(node.attempts)}"
    span = f" in {duration(node.waited_ms)}" if node.waited_ms else ""
    error = f"it can't be read ({node.what})" if node.what == Poison.__name__ else node.what
    return f"DEAD LETTER of {node.group}: {error}{attempts}{span}, on {node.place}{_became(node)}"


def _became(node: Node) -> str:
    became = (node.details or {}).get("disposition")
    if became is None or became == OPEN:
        return "" if became is None else ", still OPEN"
    why = f' ("{node.reason}")' if node.reason else ""
    return f", {became} by {node.actor or 'somebody'}{why}"


def _handling(node: Node) -> str:
    done = {
        "handled": "handled it",
        "repeat": "knew it already",
        "skipped": "has no use for it",
        "dead letter": "gave it up",
        "pending": "HAS NOT HANDLED IT YET; it is there",
        "finished": "handled it; when is not known",
        "unknown": "listens to it; nothing is known",
    }.get(str(node.outcome), str(node.outcome))

    after = "" if node.took_ms is None else f" after {duration(node.took_ms)}"
    if node.outcome == "handled" and node.at is None:
        after = "; when is not known"
    failed = f", {_tries(node.attempts)} failed before" if node.attempts else ""
    if node.outcome == "pending":
        return f"{node.group} {done} for {duration(node.waited_ms or 0)}"
    waited = f", waited {duration(node.waited_ms)}" if node.waited_ms else ""
    return f"{node.group} {done}{after}{failed}{waited}"


def _payment(node: Node) -> str:
    why = f" ({node.reason})" if node.reason else ""
    if node.outcome == "UNKNOWN":
        why = ", neither a yes nor a no: the provider is asked again"
    return f"{node.what} {node.outcome}{why}{_amount(node)}{_took(node)}"


def _refund(node: Node) -> str:
    if node.outcome != "SUCCEEDED":
        return f"refund OWED{_amount(node)} ({node.reason})"
    return f"refund {node.outcome}{_amount(node)} ({node.reason}){_took(node)}"


def _reservation(node: Node) -> str:
    return f"stock of this order is now {node.outcome}"


def _shipment(node: Node) -> str:
    return f"shipment {node.outcome}"


def _mail(node: Node) -> str:
    why = f" ({node.reason})" if node.reason else ""
    tries = f", {_tries(node.attempts)}" if node.attempts and node.attempts > 1 else ""
    places = [child.place for child in node.children if child.kind == "record"]
    place = f", told on {places[0]}" if places else ""
    return f"mail {node.what} {node.outcome}{why}{tries}{_took(node)}{place}"


def _took(node: Node) -> str:
    return "" if node.took_ms is None else f", took {duration(node.took_ms)}"


def _amount(node: Node) -> str:
    details = node.details or {}
    amount, currency = details.get("amountMinor"), details.get("currency")
    if not isinstance(amount, int) or not isinstance(currency, str):
        return ""
    return f", {amount_text(amount, currency)}"


def _tries(count: int) -> str:
    return f"{count} attempt" if count == 1 else f"{count} attempts"


def _times(count: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(count if count < 20 else count % 10, "th")
    return f"{count}{ending}"


_WORDS: dict[str, Callable[[Node], str]] = {
    "act": _act,
    "record": _record,
    "replay": _replay,
    "dead letter": _dead_letter,
    "handling": _handling,
    "change": _change,
    "payment": _payment,
    "refund": _refund,
    "reservation": _reservation,
    "shipment": _shipment,
    "mail": _mail,
}
