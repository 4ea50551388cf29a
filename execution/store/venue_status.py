"""Rows of what blocks entries in a contract or the account, and of the settings we rely on."""

from collections.abc import Sequence
from datetime import datetime

from execution.domain.reasons import Reason
from execution.domain.states import REQUEST_FINAL, TRADE_OPEN, RequestState, TradeState
from execution.domain.venue_status import FoundBlock
from execution.models import ExecutionRequest, Trade, VenueBlock

# These have not asked for their leverage yet.
BEFORE_SETUP = frozenset({RequestState.RECEIVED, RequestState.CLEARED})


def symbols_about_to_end() -> set[str]:
    """Return the symbols whose contracts take no entries, for their end is announced."""
    return set(VenueBlock.objects.filter(reason_code=Reason.SYMBOL_ENDS).values_list("scope", flat=True))


def announced_ends() -> dict[str, datetime]:
    """Return when contracts end, by symbol."""
    return {row.scope: row.ends_at for row in VenueBlock.objects.exclude(ends_at=None) if row.ends_at}


def status_rows_by_key() -> dict[tuple[str, str], VenueBlock]:
    """Return the rows in force by scope and reason code."""
    return {(row.scope, row.reason_code): row for row in VenueBlock.objects.all()}


def add_status_rows(found: Sequence[FoundBlock], *, now: datetime) -> None:
    """Insert rows in force since now, but for those that a cycle at the same moment has written."""
    rows = [
        VenueBlock(
            scope=each.scope,
            reason_code=each.code,
            sentence=each.sentence,
            alarming=each.alarming,
            since=now,
            ends_at=each.ends_at,
        )
        for each in found
    ]
    VenueBlock.objects.bulk_create(rows, ignore_conflicts=True)


def change_status_row(row: VenueBlock, found: FoundBlock) -> None:
    """Write what the exchange shows now."""
    VenueBlock.objects.filter(pk=row.pk).update(sentence=found.sentence, alarming=found.alarming, ends_at=found.ends_at)


def delete_status_rows(rows: Sequence[VenueBlock]) -> None:
    """Delete what the exchange no longer shows."""
    VenueBlock.objects.filter(pk__in=[row.pk for row in rows]).delete()


def leverages_of_open_trades() -> list[tuple[str, int, datetime]]:
    """Return symbol, leverage and the time of creation of each open trade."""
    trades = Trade.objects.filter(state__in=sorted(TRADE_OPEN))
    return list(trades.values_list("symbol", "leverage", "created_at"))


def leverages_of_unfinished_requests() -> list[tuple[str, int]]:
    """Return symbol and leverage of each unfinished request that has asked the exchange for its leverage."""
    unfinished = ExecutionRequest.objects.exclude(state__in=sorted(REQUEST_FINAL | BEFORE_SETUP))
    return list(unfinished.values_list("symbol", "leverage"))


def symbols_closed_since(moment: datetime) -> frozenset[str]:
    """Return the symbols of trades that were closed at this moment or later."""
    closed = Trade.objects.filter(state=TradeState.CLOSED, exit_at__gte=moment)
    return frozenset(closed.values_list("symbol", flat=True).distinct())
