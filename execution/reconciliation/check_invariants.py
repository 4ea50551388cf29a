"""Checks the invariants at the end of each reconciliation cycle, from what the cycle has read.

It asks the exchange nothing and repairs nothing. It runs three statements a cycle, however many positions there are
(doubled entries, the last heartbeat, and the new one), and two more where a violation begins or ends.
"""

from collections import Counter
from collections.abc import Iterable
from datetime import datetime

import structlog
from django.db import transaction

from execution.domain.oracle import VIOLATIONS, Finding, Followed, OpenFinding, Side, follow
from execution.models import AuditEvent
from execution.reconciliation.invariants import entered_twice, findings, pictures, shows_orders_of, unjudged_sides
from execution.reconciliation.state import LocalState, VenueState
from execution.store.heartbeats import last_heartbeat, store_heartbeat
from execution.store.metrics import count
from execution.store.reconciliation import doubled_entries, save_journal_lines
from execution.store.transitions import log_line

log = structlog.get_logger(__name__)
ORACLE = "oracle"


def check_invariants(books: LocalState, seen: VenueState, *, now: datetime) -> Followed:
    """Check this cycle's reading against the invariants and report what has become a violation."""
    before = _open_findings()
    unjudged = unjudged_sides(books, seen) | _unread_sides(before, seen)
    doubled = [finding for finding in entered_twice(doubled_entries()) if finding.side not in unjudged]
    found = [*findings(books, seen), *doubled]
    followed = follow(before, found, pictures(books, seen), unjudged=unjudged, now=seen.begun_at)
    details = {"suspects": [each.as_json() for each in followed.going_on]}
    # Counted once: the heartbeat that shows a violation and its count are written together, or neither.
    with transaction.atomic(savepoint=False):
        store_heartbeat(ORACLE, healthy=not followed.standing, details=details, now=now)
        _report_changes(followed, now)
    return followed


def symbols_in_suspicion() -> frozenset[str]:
    """Return the symbols of what the last cycle has left open: the next one reads their orders."""
    return frozenset(each.finding.symbol for each in _open_findings())


def _unread_sides(before: Iterable[OpenFinding], seen: VenueState) -> frozenset[Side]:
    """Return the sides of open findings whose orders this cycle has not read."""
    sides = {each.finding.side for each in before}
    return frozenset(side for side in sides if not shows_orders_of(side, seen))


def _open_findings() -> list[OpenFinding]:
    """Return what the last cycle has left open.

    A line that cannot be read is dropped: this cycle finds it again when it is true.
    """
    row = last_heartbeat(ORACLE)
    found = []
    for line in row.details.get("suspects", ()) if row else ():
        try:
            found.append(OpenFinding.of_json(line))
        except (KeyError, TypeError, ValueError) as error:
            log.warning("oracle_finding_unreadable", error=repr(error))
    return found


def _report_changes(followed: Followed, now: datetime) -> None:
    """Write log, journal and metric, once for each violation and once for its end."""
    raised, ended = followed.raised, followed.ended
    lines = [_line(each.finding, "violation_stands", now) for each in raised]
    lines += [_line(each.finding, "violation_over", now) for each in ended]
    if lines:
        save_journal_lines(lines)
    for each in raised:
        log.error("oracle_violation", **_facts(each.finding))
    for each in ended:
        log.warning("oracle_violation_over", **_facts(each.finding))
    if kinds := Counter(each.finding.kind.value for each in raised):
        count(VIOLATIONS, kinds)


def _line(finding: Finding, trigger: str, now: datetime) -> AuditEvent:
    state = finding.kind.value.upper() if trigger == "violation_stands" else "HOLDS"
    reason = (finding.kind.value.upper(), finding.numbers)
    where = f"{finding.symbol} {finding.position_side}"
    return log_line("oracle", where, to_state=state, trigger=trigger, now=now, reason=reason, details=_facts(finding))


def _facts(finding: Finding) -> dict[str, str]:
    return {
        "kind": finding.kind.value,
        "symbol": finding.symbol,
        "position_side": finding.position_side,
        "subject": finding.subject,
        "numbers": finding.numbers,
    }
