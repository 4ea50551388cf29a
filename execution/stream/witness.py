"""Compares what the stream tells with what others find out: that is how a stream that says nothing is noticed.

A socket that answers pings proves nothing about events. But every order that the exchange has taken and every fill that
is booked must have been told of; one that was not, after some patience, means that the stream is silent.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Max

from execution.domain.states import OrderTrigger
from execution.models import Fill, Order, Transition

Clock = Callable[[], datetime]
LOOK_EVERY = timedelta(seconds=1)
# What happened right at the opening of a connection may have been told to nobody; clocks may differ too.
MARGIN = timedelta(seconds=2)
MOST_REMEMBERED = 20_000
# An order by its client id, a fill by its symbol and number.
Fact = tuple[str, str]


@dataclass(kw_only=True)
class Witness:
    """What one connection has told, against what the books have learned since it was opened."""

    patience: timedelta
    clock: Clock
    _since: datetime | None = None
    _heard: dict[Fact, None] = field(default_factory=dict)
    _awaited: dict[Fact, datetime] = field(default_factory=dict)
    _transition: int = 0
    _fill: int = 0
    _looked_at: datetime | None = None

    def begin(self) -> None:
        """Start anew with a connection."""
        self._since = self._looked_at = self.clock()
        self._heard.clear()
        self._awaited.clear()
        self._transition = Transition.objects.aggregate(last=Max("pk"))["last"] or 0
        self._fill = Fill.objects.aggregate(last=Max("pk"))["last"] or 0

    def end(self) -> None:
        self._since = None

    def hear(self, *facts: Fact) -> None:
        for fact in facts:
            self._heard[fact] = None
            self._awaited.pop(fact, None)
        while len(self._heard) > MOST_REMEMBERED:
            del self._heard[next(iter(self._heard))]

    def missed(self) -> Fact | None:
        """Return a fact that the stream should have told of by now; None as long as it tells."""
        now = self.clock()
        if self._since is None or self._looked_at is None or now - self._looked_at < LOOK_EVERY:
            return None
        self._looked_at = now
        for fact in [*self._new_orders(self._since + MARGIN), *self._new_fills(self._since + MARGIN)]:
            if fact not in self._heard:
                self._awaited.setdefault(fact, now)
        return next((fact for fact, since in self._awaited.items() if now - since >= self.patience), None)

    def _new_orders(self, since: datetime) -> Iterable[Fact]:
        """Return the orders that the exchange has accepted since the last look, sent after the connection opened."""
        rows = Transition.objects.filter(pk__gt=self._transition, entity="order", trigger=OrderTrigger.ACCEPTED)
        found = list(rows.order_by("pk").values_list("pk", "entity_id"))
        if not found:
            return []
        self._transition = found[-1][0]
        names = [client_order_id for _, client_order_id in found]
        sent = Order.objects.filter(client_order_id__in=names, sent_at__gt=since)
        return [order_fact(client_order_id) for client_order_id in sent.values_list("client_order_id", flat=True)]

    def _new_fills(self, since: datetime) -> Iterable[Fact]:
        rows = Fill.objects.filter(pk__gt=self._fill).order_by("pk")
        found = list(rows.values_list("pk", "symbol", "exchange_trade_id", "filled_at"))
        if found:
            self._fill = found[-1][0]
        return [fill_fact(symbol, trade_id) for _, symbol, trade_id, at in found if at > since]


def order_fact(client_order_id: str) -> Fact:
    return ("order", client_order_id)


def fill_fact(symbol: str, trade_id: int) -> Fact:
    return (symbol, str(trade_id))
