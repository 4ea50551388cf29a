"""Reads what health is judged from: some sixteen small reads, none of which grows with the books."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import Q

from execution.domain.coverage import Coverage
from execution.domain.software_stop import ProtectedBy
from execution.domain.states import ORDER_FINAL, REQUEST_BEFORE_WIRE, TradeState
from execution.models import (
    AccountLease,
    AuditEvent,
    EntryHold,
    EssStatus,
    ExecutionRequest,
    Heartbeat,
    InboxEvent,
    Order,
    OutboxEvent,
    Position,
    QuarantinedRow,
    StreamLoss,
    Trade,
    VenueBlock,
)
from execution.protection.coverage import coverage
from execution.queries.refused_exits import RefusedExit, refused_exits
from execution.risk.entry_gate import CORRECTED
from execution.risk.policy_store import DENIED, LOOSER, capped_values
from execution.store.heartbeats import USER_STREAM, last_heartbeat
from execution.store.quarantine import quarantined

# Parts that work all the time beat after every slice of a few seconds.
SLICE_MAX_AGE = timedelta(seconds=15)

# Long enough to be seen; the rows, the log and the figures remember it for longer.
LOSS_SHOWN = timedelta(hours=1)
INCOMPLETE_SHOWN = timedelta(days=1)
POLICY_SHOWN = timedelta(hours=1)
MOST_POLICY_SHOWN = 5
CORRECTION_SHOWN = timedelta(minutes=10)


@dataclass(frozen=True, kw_only=True)
class Unsettled:
    """Orders whose outcome is unknown. `oldest` is the client order id of the one sent first."""

    count: int = 0
    oldest: str = ""
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Incomplete:
    """Closed trades whose net lacks amounts that no index has valued, and the assets that these are in."""

    count: int = 0
    assets: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class HealthRows:
    """Heartbeats by part, the emergency stop, what happened lately, and what keeps entries back."""

    heartbeats: Mapping[str, Heartbeat]
    ess: EssStatus | None
    active_positions: int
    orders_last_minute: int
    last_event_at: datetime | None
    lease: AccountLease | None = None
    holds: tuple[EntryHold, ...] = ()
    # Entry blocks from the states of contracts and account, only those that concern more than entries.
    alarms: tuple[VenueBlock, ...] = ()
    # Entries of incoming streams that were lately found to be gone unread.
    losses: tuple[StreamLoss, ...] = ()
    unsettled: Unsettled = Unsettled()
    # Exits that the exchange keeps refusing, closes first.
    refused: tuple[RefusedExit, ...] = ()
    # Positions that we answer for, of which live stops at the exchange do not protect all.
    uncovered: tuple[Coverage, ...] = ()
    incomplete: Incomplete = Incomplete()
    # Policy values that were lately loosened, or refused, newest first.
    policy_alarms: tuple[AuditEvent, ...] = ()
    # Policy values beyond a hard ceiling: what is stored, and what is in force.
    policy_capped: Mapping[str, tuple[Decimal, Decimal]] = field(default_factory=dict)
    # The account's lease as it was stamped ahead of any clock, and lately corrected.
    lease_corrected: AuditEvent | None = None
    # Stored rows that cannot be used as they are.
    set_aside: tuple[QuarantinedRow, ...] = ()
    # When the oldest decision came that is neither refused nor sent yet.
    oldest_decision_at: datetime | None = None


def health_rows(now: datetime, *, account: str) -> HealthRows:
    """Read them. `orders_last_minute` counts the orders of any purpose that the exchange accepted."""
    lately = OutboxEvent.objects.filter(event_type="order.placed", created_at__gt=now - timedelta(minutes=1))
    newest = InboxEvent.objects.order_by("-received_at").values_list("received_at", flat=True)
    return HealthRows(
        heartbeats=Heartbeat.objects.in_bulk(),
        ess=EssStatus.objects.first(),
        active_positions=Position.objects.count(),
        orders_last_minute=lately.count(),
        last_event_at=newest.first(),
        lease=AccountLease.objects.filter(account=account).first(),
        holds=tuple(EntryHold.objects.order_by("scope")),
        alarms=tuple(VenueBlock.objects.filter(alarming=True).order_by("scope", "reason_code")),
        losses=tuple(StreamLoss.objects.filter(noticed_at__gt=now - LOSS_SHOWN).order_by("noticed_at")),
        unsettled=unsettled_orders(),
        refused=refused_exits(),
        uncovered=tuple(
            each for each in coverage(now) if each.is_unprotected or each.protected_by is ProtectedBy.SOFTWARE
        ),
        incomplete=incomplete_books(now - INCOMPLETE_SHOWN),
        policy_alarms=policy_alarms(now - POLICY_SHOWN),
        policy_capped=capped_values(),
        lease_corrected=lease_corrected(account, now - CORRECTION_SHOWN),
        set_aside=tuple(quarantined()),
        oldest_decision_at=oldest_decision_at(),
    )


def oldest_decision_at() -> datetime | None:
    """Return when the oldest decision came that has not left yet.

    Such decisions are seconds old while order workers work.
    """
    waiting = ExecutionRequest.objects.filter(state__in=sorted(REQUEST_BEFORE_WIRE))
    return waiting.order_by("received_at").values_list("received_at", flat=True).first()


def lease_corrected(account: str, since: datetime) -> AuditEvent | None:
    lines = AuditEvent.objects.filter(entity="lease", entity_id=account, to_state=CORRECTED, at__gt=since)
    return lines.order_by("-pk").first()


def policy_alarms(since: datetime) -> tuple[AuditEvent, ...]:
    """Return the journal's newest lines about policy values that were loosened or refused since then."""
    alarming = Q(to_state=DENIED) | Q(details__direction=LOOSER)
    lines = AuditEvent.objects.filter(alarming, entity="policy", at__gt=since)
    return tuple(lines.order_by("-pk")[:MOST_POLICY_SHOWN])


def covering(beat: Heartbeat | None, now: datetime) -> str:
    """Return which of the two reports fills now: the user-data stream, or the monitor's polling."""
    works = beat is not None and beat.healthy and now - beat.at <= SLICE_MAX_AGE
    return "stream" if works else "polling"


def user_stream_beat() -> Heartbeat | None:
    return last_heartbeat(USER_STREAM)


def unsettled_orders() -> Unsettled:
    """Count the unfinished orders with an alarm. The first evidence about an order ends its alarm."""
    alarmed = Order.objects.exclude(state__in=sorted(ORDER_FINAL)).filter(alarmed_at__isnull=False)
    rows = list(alarmed.order_by("sent_at").values_list("client_order_id", "sent_at"))
    return Unsettled(count=len(rows), oldest=rows[0][0], since=rows[0][1]) if rows else Unsettled()


def incomplete_books(since: datetime) -> Incomplete:
    """Count the trades closed since then with something in their books that no index has valued."""
    whole = Q(unvalued_fees={}, unvalued_income={})
    rows = Trade.objects.filter(~whole, state=TradeState.CLOSED, exit_at__gte=since)
    found = list(rows.values_list("unvalued_fees", "unvalued_income"))
    assets = {asset for fees, income in found for asset in (*fees, *income)}
    return Incomplete(count=len(found), assets=tuple(sorted(assets)))
