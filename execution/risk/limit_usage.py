"""How much of the limits is used, and the claim that reserves an entry's share before anybody else can count."""

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Exists, OuterRef

from execution.domain import policy as keys
from execution.domain.clocks import CLOCKS_DIFFER
from execution.domain.limits import LimitUsage
from execution.domain.policy import Policy
from execution.domain.states import ORDER_FINAL, TRADE_OVER
from execution.domain.trading import OrderService, PositionSide
from execution.models import BracketLeg, ExecutionRequest, Order

# One lock for all processes while usage is counted and a claim is taken, so that two cannot both be the last that fits.
CLAIM_LOCK = 0x65786563
# Every amount is in USD, at the index price of its quote asset: a claim's at the approval, a position's at the
# monitor's last reading, a closed trade's at its close. What has never been priced is in no sum, and is named instead.
# A claim holds what was approved until the entry is finished, and from then on what its trade still has open: the
# reservation ends with the outcome. The same rows carry count, notional, and what the planned stops may lose.
USAGE = """
    WITH held AS (
        SELECT claim.symbol, claim.position_side, claim.request_id, request.state,
               open.quantity * open.price * request.quote_index AS notional,
               open.quantity * CASE
                   -- Approved, and not yet booked: what the approval counted.
                   WHEN trade.id IS NULL THEN abs(open.price - COALESCE(request.stop_price, 0))
                   -- Without a stop, or with one at 0, all of the price may be lost.
                   WHEN stop.worst IS NULL THEN open.price
                   -- A stop beyond the entry loses nothing, and its gain is not counted before it is there.
                   ELSE GREATEST((open.price - stop.worst) * side.sign, 0)
               END * request.quote_index AS risk
        FROM execution_positionslot AS claim
        JOIN execution_executionrequest AS request ON request.id = claim.request_id
        LEFT JOIN execution_trade AS trade ON trade.id = claim.request_id
        CROSS JOIN LATERAL (SELECT CASE request.direction WHEN 'SHORT' THEN -1 ELSE 1 END AS sign) AS side
        -- A stop that moves is counted where it loses more: in the plan, or where its order still waits.
        CROSS JOIN LATERAL (
            SELECT COALESCE(min(level.price * side.sign) * side.sign, NULLIF(request.stop_price, 0)) AS worst
            FROM (
                SELECT leg.price FROM execution_bracketleg AS leg
                WHERE leg.bracket_id = claim.request_id AND leg.purpose = 'STOP'
                UNION ALL
                SELECT resting.trigger_price FROM execution_order AS resting
                WHERE resting.request_id = claim.request_id AND resting.purpose = 'STOP'
                  AND resting.state IN ('ACCEPTED', 'PARTIALLY_FILLED', 'TRIGGERED')
            ) AS level
        ) AS stop
        CROSS JOIN LATERAL (
            SELECT COALESCE(trade.entry_price, request.reference_price, 0) AS price,
                   CASE WHEN trade.id IS NULL OR EXISTS (
                            SELECT FROM execution_order AS entry
                            WHERE entry.request_id = claim.request_id AND entry.purpose = 'ENTRY'
                              AND entry.state NOT IN
                                  ('FILLED', 'CANCELED', 'EXPIRED', 'REJECTED', 'NOT_ACCEPTED', 'WRITTEN_OFF')
                        )
                        THEN COALESCE(request.quantity, 0) ELSE trade.quantity
                   END - COALESCE(trade.exited_quantity, 0) AS quantity
        ) AS open
        -- Who has its claim already counts those before its own: they are numbered in the order of their commits.
        WHERE claim.request_id <> %(request)s AND (%(later_too)s OR claim.id < COALESCE(
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
           AND base_quantity_asked IS NOT DISTINCT FROM %(quantity)s),
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
TAKE_CLAIM = """
    INSERT INTO execution_positionslot (symbol, position_side, request_id, claimed_at) VALUES (%s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""


def lock_usage() -> None:
    """Wait for whoever counts now; held until the caller's transaction ends, so that its claim is seen by the next."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIM_LOCK])


def usage_for(
    request: ExecutionRequest, side: PositionSide, policy: Policy, *, now: datetime, later_too: bool = False
) -> LimitUsage:
    """Count what others use, in one statement; call it under the lock.

    For a request that is approved already it is what was approved before, and needs no lock: that only grows less.
    `later_too`: what was approved after it counts as well, which needs the lock.
    """
    parameters = {
        "request": request.pk,
        "symbol": request.symbol,
        "side": side,
        "direction": request.direction,
        "notional": request.notional_usd,
        "quantity": request.base_quantity_asked,
        "approved": request.approved_at,
        "now": now,
        "later_too": later_too,
        # What lies further ahead was noted under a clock that has been set back, or by nobody: it holds nothing.
        "latest": now + CLOCKS_DIFFER,
        "minute_ago": now - timedelta(minutes=1),
        "midnight": now.replace(hour=0, minute=0, second=0, microsecond=0),
        "look_alikes_since": now - timedelta(seconds=float(policy[keys.LOOK_ALIKE_WINDOW])),
        "stops_since": now - timedelta(seconds=float(policy[keys.STOP_OUT_PAUSE])),
    }
    with connection.cursor() as cursor:
        cursor.execute(USAGE, parameters)
        row = cursor.fetchone()
    return LimitUsage(
        positions=row[0],
        exposure=row[1],
        symbol_exposure=row[2],
        open_risk=row[3],
        entries_last_minute=row[4],
        day_result=row[5],
        day_peak=row[6],
        open_loss=row[7],
        held_by=_holder(row[8]) if row[8] else "",
        unsettled=str(row[9] or ""),
        look_alike_age=row[10],
        stopped_out_age=row[11],
        unpriced=str(row[12] or ""),
    )


def _holder(request_id: UUID) -> str:
    """Name who has the symbol; of a trade that is closed, the orders that have not ended and keep it for now."""
    closed = Order.objects.filter(request_id=request_id, request__trade__state__in=sorted(TRADE_OVER))
    left = closed.exclude(state__in=sorted(ORDER_FINAL)).order_by("pk").values_list("client_order_id", flat=True)
    return f"{request_id} trade=CLOSED unfinished={','.join(left)}" if left else str(request_id)


def take_claim(request: ExecutionRequest, side: PositionSide, *, now: datetime) -> bool:
    """Reserve what this request is approved with; False when it has its claim already, or another has the symbol."""
    with connection.cursor() as cursor:
        cursor.execute(TAKE_CLAIM, [request.symbol, side, request.pk, now])
        return bool(cursor.rowcount)


def conditional_orders() -> int:
    """Return how many conditional orders of ours rest or are on their way, with the legs of entries that have none."""
    resting = Order.objects.filter(service=OrderService.ALGO).exclude(state__in=sorted(ORDER_FINAL))
    begun = Order.objects.filter(request_id=OuterRef("bracket_id"), service=OrderService.ALGO)
    coming = BracketLeg.objects.filter(~Exists(begun), bracket__request__slot__isnull=False)
    return resting.count() + coming.count()
