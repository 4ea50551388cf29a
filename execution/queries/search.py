"""Finds decisions by what a person knows of them: an id, a symbol, a strategy, a reason code, a time."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from execution.domain.bounds import uuid_of
from execution.domain.client_ids import PREFIX
from execution.domain.trading import Source
from execution.models import ExecutionRequest, Order

PAGE = 50


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What decisions are searched by. What is empty does not narrow the search.

    `since` and `before` bound the time at which a decision was received.
    """

    symbol: str = ""
    strategy: str = ""
    state: str = ""
    reason_code: str = ""
    since: datetime | None = None
    before: datetime | None = None


def find_by_id(text: str) -> UUID | None:
    """Return the decision of an id: its own, which is its trade's, or that of one of its orders.

    Each goes by an index. None: there is no such decision.
    """
    if text.startswith(PREFIX):
        orders = Order.objects.filter(client_order_id=text)
    elif text.isdecimal():
        orders = Order.objects.filter(exchange_order_id=text)
    else:
        try:
            wanted = uuid_of(text)
        except ValueError:
            return None
        return wanted if ExecutionRequest.objects.filter(pk=wanted).exists() else None
    return orders.values_list("request_id", flat=True).first()


def find_decisions(asked: Asked) -> list[ExecutionRequest]:
    """Return the newest decisions that match, a page and one more, newest first."""
    rows = ExecutionRequest.objects.exclude(source=Source.EXTERNAL)
    exact = {name: value for name in ("symbol", "strategy", "state", "reason_code") if (value := getattr(asked, name))}
    rows = rows.filter(**exact)
    if asked.since:
        rows = rows.filter(received_at__gte=asked.since)
    if asked.before:
        rows = rows.filter(received_at__lt=asked.before)
    return list(rows.order_by("-received_at")[: PAGE + 1])
