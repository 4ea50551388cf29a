"""Reads from the books which lists of open orders are due in this cycle, and notes which were read."""

from datetime import datetime

from execution.domain.json_values import JsonObject
from execution.domain.trading import OrderService
from execution.reconciliation.check_invariants import symbols_in_suspicion
from execution.reconciliation.diff import Patience
from execution.reconciliation.reading_plan import PastReadings, RestingOrder, lists_to_read
from execution.reconciliation.state import OrderLists, VenueState
from execution.store.heartbeats import MONITOR, WHOLE_READING_WANTED, last_healthy_heartbeat, last_heartbeat
from execution.store.reconciliation import lists_of_unfinished_orders
from execution.store.stream_freshness import fills_are_streamed


def past_readings() -> PastReadings:
    """Return when the last cycle had read what. After a cycle that could not read, nothing counts as read."""
    row = last_healthy_heartbeat(MONITOR)
    noted = row.details.get("orders_read", {}) if row else {}
    return PastReadings(whole_at=_moment(noted.get("whole_at")), resting_at=_moment(noted.get("resting_at")))


def lists_due(past: PastReadings, *, started_at: datetime, patience: Patience, now: datetime) -> OrderLists:
    """Return the lists to read in a regular cycle: four statements.

    Args:
        past: the last readings.
        started_at: when this stack has started; what was read before is not believed.
        patience: how old an order without an outcome has to be.
        now: when the reading begins.

    """
    wanted = last_heartbeat(WHOLE_READING_WANTED)
    since = max(started_at, wanted.at) if wanted else started_at
    orders = [
        RestingOrder(symbol=symbol, service=OrderService(service), in_doubt=in_doubt)
        for symbol, service, in_doubt in lists_of_unfinished_orders(sent_before=now - patience.stalled_after)
    ]
    whole_since = since if fills_are_streamed(now) else None
    return lists_to_read(orders, past, suspects=symbols_in_suspicion(), whole_since=whole_since, now=now)


def readings_after(past: PastReadings, seen: VenueState) -> JsonObject:
    """Return what the monitor's heartbeat notes after a cycle."""
    begun_at = seen.begun_at
    whole_at = begun_at if seen.lists.whole else past.whole_at
    resting_at = begun_at if seen.lists.whole or seen.lists.resting else past.resting_at
    return {"whole_at": _text(whole_at), "resting_at": _text(resting_at)}


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
