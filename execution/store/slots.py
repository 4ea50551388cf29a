"""Position slots: what the limits count as used, and the slot that reserves an approved entry's share.

A slot belongs to one request, for one symbol and position side. It is taken at the approval and given back at the end.
"""

from collections.abc import Collection, Mapping
from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from execution.domain.limits import LimitUsage
from execution.domain.states import ORDER_FINAL, TRADE_OVER, TradeState
from execution.domain.trading import PositionSide
from execution.models import ExecutionRequest, Order, PositionSlot

# One lock for all processes while usage is counted and a slot is taken, so that two entries cannot both be the last
# that fits.
USAGE_LOCK = 0x65786563
# Every amount is in USD, at the index price of its quote asset: a slot's at the approval, a position's at the monitor's
# last reading, a closed trade's at its close. An amount without an index price is in no sum, but its symbol is named.
# A slot holds what was approved until the entry is finished, and from then on what its trade still has open: the
# reservation ends with the outcome. The same rows carry count, notional, and what the planned stops may lose.
USAGE = """
    WITH held AS (
        SELECT slot.symbol, slot.position_side, slot.request_id, request.state,
               open.quantity * open.price * request.quote_index AS notional,
               open.quantity * CASE
                   -- Approved, and not yet booked: what the approval counted.
                   WHEN trade.id IS NULL THEN abs(open.price - COALESCE(request.stop_price, 0))
                   -- Without a stop, or with one at 0, all of the price may be lost.
                   WHEN stop.worst IS NULL THEN open.price
                   -- A stop beyond the entry loses nothing, and its gain is not counted before it is there.
                   ELSE GREATEST((open.price - stop.worst) * side.sign, 0)
               END * request.quote_index AS risk
        FROM execution_positionslot AS slot
        JOIN execution_executionrequest AS request ON request.id = slot.request_id
        LEFT JOIN execution_trade AS trade ON trade.id = slot.request_id
        CROSS JOIN LATERAL (SELECT CASE request.direction WHEN 'SHORT' THEN -1 ELSE 1 END AS sign) AS side
        -- A stop that moves is counted where it loses more: in the plan, or where its order still waits.
        CROSS JOIN LATERAL (
            SELECT COALESCE(min(level.price * side.sign) * side.sign, NULLIF(request.stop_price, 0)) AS worst
            FROM (
                SELECT leg.price FROM execution_bracketleg AS leg
                WHERE leg.bracket_id = slot.request_id AND leg.purpose = 'STOP'
                UNION ALL
                SELECT resting.trigger_price FROM execution_order AS resting
                WHERE resting.request_id = slot.request_id AND resting.purpose = 'STOP'
                  AND resting.state IN ('ACCEPTED', 'PARTIALLY_FILLED', 'TRIGGERED')
            ) AS level
        ) AS stop
        CROSS JOIN LATERAL (
            SELECT COALESCE(trade.entry_price, request.reference_price, 0) AS price,
                   CASE WHEN trade.id IS NULL OR EXISTS (
                            SELECT FROM execution_order AS entry
                            WHERE entry.request_id = slot.request_id AND entry.purpose = 'ENTRY'
                              AND entry.state NOT IN
                                  ('FILLED', 'CANCELED', 'EXPIRED', 'REJECTED', 'NOT_ACCEPTED', 'WRITTEN_OFF')
                        )
                        THEN COALESCE(request.quantity, 0) ELSE trade.quantity
                   END - COALESCE(trade.exited_quantity, 0) AS quantity
        ) AS open
        -- A request that has its slot already counts the slots before its own, numbered in the order of their commits.
        WHERE slot.request_id <> %(request)s AND (%(later_too)s OR slot.id < COALESCE(
            (SELECT own.id FROM execution_positionslot AS own WHERE own.request_id = %(request)s), 9223372036854775807
        ))
    ),
    day AS (
        -- What could not be valued counts at its worst.
        SELECT symbol, net_pnl_usd, net_pnl_usd - assumed_cost * quote_index AS result,
               sum(net_pnl_usd - assumed_cost * quote_index) OVER (ORDER BY exit_at, id) AS running
        FROM execution_trade WHERE state = 'CLOSED' AND exit_at >= %(midnight)s
    )
    SELECT
        (SELECT count(*) FROM held),
        (SELECT COALESCE(sum(notional), 0) FROM held),
        (SELECT COALESCE(sum(notional), 0) FROM held WHERE symbol = %(symbol)s),
        (SELECT COALESCE(sum(risk), 0) FROM held),
        (SELECT count(*) FROM execution_executionrequest
         WHERE approved_at > %(minute_ago)s AND approved_at <= %(latest)s
           AND id <> %(request)s AND state NOT IN ('DENIED', 'EXPIRED')
           AND (%(approved)s::timestamptz IS NULL OR approved_at < %(approved)s)),
        (SELECT COALESCE(sum(result), 0) FROM day),
        (SELECT GREATEST(max(running), 0) FROM day),
        (SELECT COALESCE(sum(LEAST(unrealized_pnl, 0) * quote_index), 0) FROM execution_position),
        (SELECT request_id FROM held WHERE symbol = %(symbol)s AND position_side = %(side)s),
        (SELECT request_id FROM held WHERE symbol = %(symbol)s AND state = 'UNKNOWN' LIMIT 1),
        (SELECT extract(epoch FROM %(now)s - max(LEAST(approved_at, %(now)s))) FROM execution_executionrequest
         WHERE approved_at > %(look_alikes_since)s AND approved_at <= %(latest)s
           AND id <> %(request)s AND state NOT IN ('DENIED', 'EXPIRED')
           AND symbol = %(symbol)s AND direction = %(direction)s
           AND notional_usd IS NOT DISTINCT FROM %(notional)s
           AND base_quantity_asked IS NOT DISTINCT FROM %(quantity)s
           AND size_measure = %(size_measure)s AND size_amount IS NOT DISTINCT FROM %(size_amount)s),
        (SELECT extract(epoch FROM %(now)s - max(LEAST(stopped.at, %(now)s)))
         FROM execution_trade AS trade
         -- An exit that is stamped ahead counts from its booking, which is by our own clock.
         CROSS JOIN LATERAL (SELECT LEAST(trade.exit_at, trade.updated_at) AS at) AS stopped
         WHERE trade.state = 'CLOSED' AND trade.exit_at > %(stops_since)s AND trade.symbol = %(symbol)s
           AND trade.close_reason IN ('SL', 'LIQUIDATION')
           AND stopped.at > %(stops_since)s AND stopped.at <= %(latest)s),
        (SELECT string_agg(symbol, ',' ORDER BY symbol) FROM (
            SELECT symbol FROM held WHERE notional IS NULL
            UNION SELECT symbol FROM day WHERE net_pnl_usd IS NULL
            UNION SELECT symbol FROM execution_position WHERE quote_index IS NULL
         ) AS unpriced)
"""
# The unfinished conditional orders, and the legs of approved entries that have none yet.
CONDITIONAL_ORDERS = """(
    (SELECT count(*) FROM execution_order WHERE service = 'ALGO' AND state <> ALL(%(final)s))
    + (SELECT count(*) FROM execution_bracketleg AS leg
       JOIN execution_positionslot AS slot ON slot.request_id = leg.bracket_id
       WHERE NOT EXISTS (
           SELECT FROM execution_order AS begun WHERE begun.request_id = leg.bracket_id AND begun.service = 'ALGO'
       ))
)"""
# True while a slot of the symbol and side, or of the request itself, is taken.
SLOT_TAKEN = "EXISTS (SELECT FROM execution_positionslot WHERE (symbol = %s AND position_side = %s) OR request_id = %s)"
TAKE_SLOT = """
    INSERT INTO execution_positionslot (symbol, position_side, request_id, claimed_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""


def lock_usage() -> None:
    """Wait until no other process counts the usage, and hold the lock in the caller's transaction.

    So the next process that counts sees the slot which this transaction takes.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [USAGE_LOCK])


UsageParameters = Mapping[str, bool | Decimal | datetime | UUID | str | None]


def read_usage(parameters: UsageParameters) -> tuple[LimitUsage, int]:
    """Return what the limits count as used, and how many conditional orders there are.

    It is one statement, with the parameters of `USAGE`. For the orders see `conditional_orders`.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"{USAGE}, {CONDITIONAL_ORDERS}", {**parameters, "final": sorted(ORDER_FINAL)})
        row = cursor.fetchone()
    usage = LimitUsage(
        positions=row[0],
        exposure=row[1],
        symbol_exposure=row[2],
        open_risk=row[3],
        entries_last_minute=row[4],
        day_result=row[5],
        day_peak=row[6],
        open_loss=row[7],
        held_by=slot_holder(row[8]) if row[8] else "",
        unsettled=str(row[9] or ""),
        look_alike_age=row[10],
        stopped_out_age=row[11],
        unpriced=str(row[12] or ""),
    )
    return usage, int(row[13])


def slot_holder(request_id: UUID) -> str:
    """Return which request holds a slot, for a refusal.

    When its trade is closed, the unfinished orders that still keep the slot are named.
    """
    closed = Order.objects.filter(request_id=request_id, request__trade__state__in=sorted(TRADE_OVER))
    left = closed.exclude(state__in=sorted(ORDER_FINAL)).order_by("pk").values_list("client_order_id", flat=True)
    return f"{request_id} trade=CLOSED unfinished={','.join(left)}" if left else str(request_id)


def take_slot(request: ExecutionRequest, side: PositionSide, *, now: datetime) -> bool:
    """Reserve symbol and side for a request, or return False when the slot is taken.

    The request itself may have taken it before.
    """
    with connection.cursor() as cursor:
        cursor.execute(TAKE_SLOT, [request.symbol, side, request.pk, now])
        return bool(cursor.rowcount)


def conditional_orders() -> int:
    """Return how many conditional orders of this service the exchange holds or will get.

    Those are the unfinished ones, and the legs of approved entries that have no conditional order yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {CONDITIONAL_ORDERS}", {"final": sorted(ORDER_FINAL)})
        return int(cursor.fetchone()[0])


def has_slot(request_id: UUID) -> bool:
    """Return whether a request has its symbol and side."""
    return PositionSlot.objects.filter(request_id=request_id).exists()


def slots_without_orders() -> QuerySet[PositionSlot, PositionSlot]:
    """Return the slots of trades that are over and have no unfinished order."""
    return PositionSlot.objects.filter(~Exists(_unfinished()), request__trade__state__in=sorted(TRADE_OVER))


def slots_kept_by_orders(closed_before: datetime) -> QuerySet[PositionSlot, PositionSlot]:
    """Return the slots that unfinished orders keep although their trades were closed by then, with the requests."""
    closed = PositionSlot.objects.filter(request__trade__state=TradeState.CLOSED)
    due = closed.filter(Exists(_unfinished()), request__trade__exit_at__lte=closed_before)
    return due.select_related("request")


def delete_slots(slots: Collection[int]) -> int:
    """Delete these slots and return how many there were."""
    return PositionSlot.objects.filter(pk__in=slots).delete()[0]


def delete_slot(slot_id: int) -> bool:
    """Delete a slot, False when another process has deleted it."""
    return bool(PositionSlot.objects.filter(pk=slot_id).delete()[0])


def delete_slot_of(request_id: UUID | None) -> bool:
    """Delete the slot of a request, False when it has none."""
    return bool(PositionSlot.objects.filter(request_id=request_id).delete()[0])


def _unfinished() -> QuerySet[Order, Order]:
    return Order.objects.filter(request=OuterRef("request")).exclude(state__in=ORDER_FINAL)
