"""Compares the events of the stream with the books, and so notices a stream that is silent.

A socket that answers pings proves nothing about events. But every order that the exchange has accepted and every fill
that is booked must come as an event. One that does not come, after some patience, means that the stream is silent.
"""

from collections import deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from execution.domain.clocks import Clock
from execution.store.user_stream import fills_booked_behind, newest_numbers, orders_accepted_behind

LOOK_EVERY = timedelta(seconds=1)
# What happens right at the opening of a connection may be reported to no connection; clocks may differ too.
MARGIN = timedelta(seconds=2)
MOST_REMEMBERED = 20_000
# A row's number is given at its insert and its row seen at the commit, so that a lower one may appear after a higher
# one. Rows are looked at again for longer than any of our transactions may last (execution_project/waits.py).
LATE_COMMITS = timedelta(seconds=40)
# An order by its client id, a fill by its symbol and number.
Fact = tuple[str, str]


@dataclass(kw_only=True)
class SilenceDetector:
    """The events of one connection, against what the books have learned since it was opened."""

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
        """Return a fact that the stream should have reported by now, None when there is none."""
        now = self.clock()
        if self._since is None or self._looked_at is None or now - self._looked_at < LOOK_EVERY:
            return None
        self._looked_at = now
        _, transition, fill = self._looks[0]
        since = self._since + MARGIN
        orders = [order_fact(name) for name in orders_accepted_behind(transition, sent_after=since)]
        fills = [fill_fact(*each) for each in fills_booked_behind(fill, filled_after=since)]
        for fact in [*orders, *fills]:
            if fact not in self._heard:
                self._awaited.setdefault(fact, now)
        self._note_look(now)
        return next((fact for fact, since in self._awaited.items() if now - since >= self.patience), None)

    def _note_look(self, now: datetime) -> None:
        """Remember how far was seen, and forget what is older than the last look before every late commit."""
        self._looks.append((now, *newest_numbers()))
        while len(self._looks) > 1 and now - self._looks[1][0] > LATE_COMMITS:
            self._looks.popleft()


def order_fact(client_order_id: str) -> Fact:
    return ("order", client_order_id)


def fill_fact(symbol: str, trade_id: int) -> Fact:
    return (symbol, str(trade_id))
