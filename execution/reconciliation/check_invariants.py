"""Checks the invariants at the end of each monitor cycle, from what the cycle has read, and says what stands.

It asks the exchange nothing and repairs nothing. It runs three statements a cycle, however many positions there are
(entries that are more than one, its own last word, and its new one), and two more where a violation begins or ends.
"""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Count, F, OuterRef, Q, Subquery

from execution.domain.oracle import VIOLATIONS, Finding, Followed, OpenFinding, follow
from execution.domain.states import TRADE_OPEN
from execution.domain.trading import OrderPurpose
from execution.models import AuditEvent, Heartbeat, Order, Trade
from execution.reconciliation.invariants import entered_twice, findings, pictures, unjudged_sides
from execution.reconciliation.state import LocalState, VenueState
from execution.store.metrics import count
from execution.store.transitions import log_line

log = structlog.get_logger(__name__)
ORACLE = "oracle"


def check_invariants(books: LocalState, seen: VenueState, *, now: datetime) -> Followed:
    """Hold this cycle's reading against the invariants; count, tell and journal what has become a violation."""
    found = [*findings(books, seen), *_entered_twice(books, seen)]
    before = _suspects()
    followed = follow(before, found, pictures(books, seen), unjudged=unjudged_sides(books, seen), now=seen.begun_at)
    rows = [suspect.as_json() for suspect in followed.going_on]
    word = Heartbeat(part=ORACLE, at=now, healthy=not followed.standing, details={"suspects": rows})
    # Counted once: the word that a violation stands and its count are there together, or neither.
    with transaction.atomic(savepoint=False):
        Heartbeat.objects.bulk_create(
            [word], update_conflicts=True, unique_fields=["part"], update_fields=["at", "healthy", "details"]
        )
        _tell(followed, now)
    return followed


def _suspects() -> list[OpenFinding]:
    """Return what the last cycle has left; a word that is not ours is forgotten, and found again if it is true."""
    row = Heartbeat.objects.filter(part=ORACLE).first()
    suspects = []
    for line in row.details.get("suspects", ()) if row else ():
        try:
            suspects.append(OpenFinding.of_json(line))
        except (KeyError, TypeError, ValueError) as error:
            log.warning("oracle_suspect_unreadable", error=repr(error))
    return suspects


def _entered_twice(books: LocalState, seen: VenueState) -> list[Finding]:
    """Find open trades that more than one order has filled, or that are larger than their entry."""
    unjudged = unjudged_sides(books, seen)
    entry = Order.objects.filter(request_id=OuterRef("pk"), purpose=OrderPurpose.ENTRY)
    fills = Count("fills__exchange_order_id", filter=Q(fills__entry=True), distinct=True)
    trades = Trade.objects.filter(state__in=sorted(TRADE_OPEN)).annotate(
        orders=fills, ordered=Subquery(entry.values("quantity")[:1])
    )
    rows: Sequence[tuple[UUID, str, str, int, Decimal, Decimal | None]] = list(
        trades.filter(Q(orders__gt=1) | Q(quantity__gt=F("ordered"))).values_list(
            "pk", "symbol", "position_side", "orders", "quantity", "ordered"
        )
    )
    return [finding for finding in entered_twice(rows) if finding.side not in unjudged]


def _tell(followed: Followed, now: datetime) -> None:
    """Write log, journal and figure, once for each violation and once for its end."""
    raised, ended = followed.raised, followed.ended
    lines = [_line(each.finding, "violation_stands", now) for each in raised]
    lines += [_line(each.finding, "violation_over", now) for each in ended]
    if lines:
        AuditEvent.objects.bulk_create(lines)
    for each in raised:
        log.error("oracle_violation", **_facts(each.finding))
    for each in ended:
        log.warning("oracle_violation_over", **_facts(each.finding))
    kinds: dict[str, int] = {}
    for each in raised:
        kinds[each.finding.kind.value] = kinds.get(each.finding.kind.value, 0) + 1
    if kinds:
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
