"""Compares the terms of contracts and account at each cycle, and raises and ends alarms."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import structlog
from django.db import transaction

from execution.domain import policy as keys
from execution.domain.ports import Account, ExchangeUnavailableError
from execution.domain.venue_status import ANY, READ_ANEW, ExpectedSettings, FoundBlock, Terms, find_blocks
from execution.models import VenueBlock
from execution.protection.follow_filters import follow_all
from execution.risk.entry_gate import Stack
from execution.risk.policy_store import policy_in_force
from execution.store.heartbeats import beat, heartbeat_since
from execution.store.transitions import log_step
from execution.store.venue_status import (
    add_status_rows,
    change_status_row,
    delete_status_rows,
    leverages_of_open_trades,
    leverages_of_unfinished_requests,
    status_rows_by_key,
    symbols_closed_since,
)

log = structlog.get_logger(__name__)
TERMS = "terms"
# A symbol without a trade for longer is looked at when it is traded again.
LATELY = timedelta(days=1)
NAMED = 5
Key = tuple[str, str]


def watch_terms(
    exchange: Account,
    stack: Stack,
    *,
    held: Iterable[str],
    began_at: datetime,
    now: datetime,
    settings_max_age: timedelta = READ_ANEW,
) -> None:
    """Read the terms and keep the table of entry blocks as they are.

    `settings_max_age`: how old the account's settings may be that the books are compared with.

    When they cannot be read, what is known stays in force: an entry that is held too long loses less than one that is
    sent too early.
    """
    try:
        terms = exchange.terms(settings_max_age=settings_max_age)
    except ExchangeUnavailableError as error:
        log.warning("terms_not_read", error=str(error))
        # The mode that is expected must outlive a silence.
        beat(TERMS, now=now, healthy=False, details={**_read_since_start(stack), "error": str(error)})
        return
    # Before anything else is compared: what is placed from now on has to fit.
    follow_all(terms.rules, now=now)
    ours = expected_settings(terms, stack, held=frozenset(held), began_at=began_at, now=now)
    found = find_blocks(terms, ours)
    _note(found, now)
    details = {"position_mode": terms.position_mode, "expected_mode": ours.position_mode, "contracts": len(found)}
    beat(TERMS, now=now, details=details)


def expected_settings(
    terms: Terms, stack: Stack, *, held: frozenset[str], began_at: datetime, now: datetime
) -> ExpectedSettings:
    """Return what the books rest on.

    A trade that was opened since the settings were read is left out: its leverage may have been set after the reading.
    """
    trades = leverages_of_open_trades()
    wanted: dict[str, set[int]] = {}
    for symbol, leverage in [*((row[0], row[1]) for row in trades), *leverages_of_unfinished_requests()]:
        wanted.setdefault(symbol, set()).add(leverage)
    settled = {symbol for symbol, _, created_at in trades if created_at < began_at - terms.settings_age}
    open_in = frozenset(symbol for symbol, _, _ in trades)
    return ExpectedSettings(
        position_mode=_expected_mode(terms, stack),
        held=held | open_in,
        traded=open_in if terms.demanded_margin == ANY else open_in | symbols_closed_since(now - LATELY),
        leverages={symbol: frozenset(wanted[symbol]) for symbol in settled},
        now=now,
        no_entry_before_end=_no_entry_before_end(),
    )


def _no_entry_before_end() -> timedelta:
    """Return the longer of two: what would have to be closed at once must not be opened either."""
    policy = policy_in_force()
    hours = max(policy[keys.NO_ENTRY_BEFORE_END], policy[keys.CLOSE_BEFORE_END])
    return timedelta(hours=float(hours))


def _expected_mode(terms: Terms, stack: Stack) -> str:
    """Return the mode that is demanded, or else the one that was found when this stack has started."""
    if terms.demanded_mode != ANY:
        return terms.demanded_mode
    return str(_read_since_start(stack).get("expected_mode", terms.position_mode))


def _read_since_start(stack: Stack) -> Mapping[str, object]:
    last = heartbeat_since(TERMS, stack.started_at)
    return last.details if last else {}


def _note(found: Sequence[FoundBlock], now: datetime) -> None:
    """Write what is new, what has changed and what is gone. When all is as before nothing is written."""
    known: Mapping[Key, VenueBlock] = status_rows_by_key()
    seen: Mapping[Key, FoundBlock] = {(trouble.scope, trouble.code.value): trouble for trouble in found}
    new = [trouble for key, trouble in seen.items() if key not in known]
    changed = [(row, seen[key]) for key, row in known.items() if key in seen and _differs(row, seen[key])]
    gone = [row for key, row in known.items() if key not in seen]
    if not (new or changed or gone):
        return
    with transaction.atomic():
        # Two cycles side by side find the same: the second to write has nothing to add.
        add_status_rows(new, now=now)
        for row, trouble in changed:
            change_status_row(row, trouble)
        delete_status_rows(gone)
        for trouble in (*new, *(trouble for _, trouble in changed)):
            if trouble.alarming:
                _raise_alarm(trouble, now)
        for row in (*gone, *(row for row, trouble in changed if not trouble.alarming)):
            if row.alarming:
                _end_alarm(row, now)
    if quiet := sorted(trouble.scope for trouble in new if not trouble.alarming):
        log.info("contracts_not_to_be_entered", count=len(quiet), symbols=quiet[:NAMED])


def _differs(row: VenueBlock, trouble: FoundBlock) -> bool:
    return (row.sentence, row.alarming, row.ends_at) != (trouble.sentence, trouble.alarming, trouble.ends_at)


def _raise_alarm(trouble: FoundBlock, now: datetime) -> None:
    log.error("terms_changed", scope=trouble.scope, code=trouble.code, sentence=trouble.sentence)
    reason = (trouble.code.value, f"{trouble.code}: {trouble.sentence}")
    log_step("terms", trouble.scope, to_state="ALARMED", trigger="alarm_raised", now=now, reason=reason)


def _end_alarm(row: VenueBlock, now: datetime) -> None:
    log.warning("terms_alarm_ended", scope=row.scope, code=row.reason_code)
    reason = (row.reason_code, f"{row.reason_code}: no longer so, since {row.since.isoformat()}")
    log_step("terms", row.scope, from_state="ALARMED", to_state="ENDED", trigger="alarm_ended", now=now, reason=reason)
