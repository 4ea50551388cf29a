"""Compares what the stream tells with what others find out: that is how a stream that says nothing is noticed.

A socket that answers pings proves nothing about events. But every order that the exchange has taken and every fill that
is booked must have been told of; one that was not, after some patience, means that the stream is silent.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from django.db.models import Max

from execution.domain.clocks import Clock
from execution.domain.states import OrderTrigger
from execution.models import AuditEvent, Fill, Order

LOOK_EVERY = timedelta(seconds=1)
# What happened right at the opening of a connection may have been told to nobody; clocks may differ too.
MARGIN = timedelta(seconds=2)
MOST_REMEMBERED = 20_000
# A row's number is given at its insert and its row seen at the commit, so that a lower one may appear after a higher
# one. Rows are looked at again for longer than any transaction of ours may last (execution_project/waits.py).
LATE_COMMITS = timedelta(seconds=40)
# An order by its client id, a fill by its symbol and number.
Fact = tuple[str, str]


@dataclass(kw_only=True)
class SilenceDetector:
    """What one connection has told, against what the books have learned since it was opened."""

    patience: timedelta
    clock: Clock
    _since: datetime | None = None
    _heard: dict[Fact, None] = field(default_factory=dict)
    _awaited: dict[Fact, datetime] = field(default_factory=dict)
    # When it was looked, with the highest numbers of journal lines and fills that were seen by then.
    _looks: deque[tuple[datetime, int, int]] = field(default_factory=deque)
    _looked_at: datetime | None = None

    def begin(self) -> None:
        """Start anew with a connection."""
        self._since = self._looked_at = self.clock()
        self._heard.clear()
        self._awaited.clear()
        self._looks.clear()
        self._note_look(self._looked_at)

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
        _, transition, fill = self._looks[0]
        since = self._since + MARGIN
        for fact in [*_new_orders(transition, since), *_new_fills(fill, since)]:
            if fact not in self._heard:
                self._awaited.setdefault(fact, now)
        self._note_look(now)
        return next((fact for fact, since in self._awaited.items() if now - since >= self.patience), None)

    def _note_look(self, now: datetime) -> None:
        """Remember how far was seen, and forget what is older than the last look before every late commit."""
        transition = AuditEvent.objects.aggregate(last=Max("pk"))["last"] or 0
        fill = Fill.objects.aggregate(last=Max("pk"))["last"] or 0
        self._looks.append((now, transition, fill))
        while len(self._looks) > 1 and now - self._looks[1][0] > LATE_COMMITS:
            self._looks.popleft()


def _new_orders(behind: int, since: datetime) -> Iterable[Fact]:
    """Return the orders that the exchange has accepted by lines behind this number, sent after that moment."""
    lines = AuditEvent.objects.filter(pk__gt=behind, entity="order", trigger=OrderTrigger.ACCEPTED)
    names = list(lines.values_list("entity_id", flat=True))
    sent = Order.objects.filter(client_order_id__in=names, sent_at__gt=since) if names else Order.objects.none()
    return [order_fact(client_order_id) for client_order_id in sent.values_list("client_order_id", flat=True)]


def _new_fills(behind: int, since: datetime) -> Iterable[Fact]:
    rows = Fill.objects.filter(pk__gt=behind, filled_at__gt=since)
    return [fill_fact(symbol, trade_id) for symbol, trade_id in rows.values_list("symbol", "exchange_trade_id")]


def order_fact(client_order_id: str) -> Fact:
    return ("order", client_order_id)


def fill_fact(symbol: str, trade_id: int) -> Fact:
    return (symbol, str(trade_id))
