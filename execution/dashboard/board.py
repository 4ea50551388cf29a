"""Writes the live part of the first page: state, positions, resting entries, decisions and results."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.html import format_html

from execution.admin.numbers import NOTHING, amount, display_grid, price, quantity, ratio, rounded_text, won
from execution.admin.shared import Cell
from execution.admin.tables import Table, side, state, table
from execution.api.health import health_inputs, report_of
from execution.dashboard.cells import address_of_decision, address_of_trade, badge, elapsed_text, linked
from execution.domain.rate_limits import CircuitState
from execution.domain.software_stop import ProtectedBy
from execution.health.inputs import HealthInputs, Status, age_seconds, heartbeat
from execution.models import ExecutionRequest, Order
from execution.queries.dashboard import (
    Decisions,
    OpenPosition,
    Performance,
    decisions_since,
    open_positions,
    performance,
    recent_latencies,
    resting_entries,
)
from execution.queries.health_rows import covering
from execution.queries.kill_switch import RELEASED, describe
from execution.store.heartbeats import MONITOR, USER_STREAM

SPARK_WIDTH, SPARK_HEIGHT = 240, 36
STATUS_TONES = {Status.OK: "done", Status.DEGRADED: "warn", Status.STARTING: "warn", Status.DOWN: "bad"}
COVER_TONES = {ProtectedBy.VENUE: "done", ProtectedBy.SOFTWARE: "warn", ProtectedBy.NONE: "bad"}
COVER_WORDS = {ProtectedBy.VENUE: "protected", ProtectedBy.SOFTWARE: "software stop", ProtectedBy.NONE: "unprotected"}
Section = Callable[[datetime], dict[str, object]]


def render_board(rights: frozenset[str]) -> str:
    """Return the board as HTML, with the sections that the rights allow."""
    now = timezone.now()
    context: dict[str, object] = {"now": now, "may_move_kill_switch": "execution.move_killswitch" in rights}
    for right, section in SECTIONS:
        if right in rights:
            context |= section(now)
    return render_to_string("dashboard/board.html", context)


def condition_section(now: datetime) -> dict[str, object]:  # noqa: ARG001 -- health has a clock of its own
    """Return mode, verdict and reasons, kill switch, locks, and the parts that trading depends on."""
    found = health_inputs()
    report, switch = report_of(found), describe()
    rows = found.rows
    locks: list[tuple[str, str, str, datetime | None]] = [
        (hold.scope, hold.reason_code, hold.reason, hold.since) for hold in (rows.holds if rows else ())
    ]
    locks += [(block.scope, block.reason_code, block.sentence, None) for block in (rows.alarms if rows else ())]
    return {
        "mode": settings.ENV.mode,
        "status": report["status"],
        "tone": STATUS_TONES[Status(report["status"])],
        "reasons": report["reasons"],
        "switch": switch,
        "switch_released": switch["level"] == RELEASED,
        "locks": locks,
        "figures": [*state_figures(found), latency_figure()],
    }


def state_figures(found: HealthInputs) -> list[Mapping[str, object]]:
    ess = found.rows.ess if found.rows else None
    monitor, stream = heartbeat(found, MONITOR), heartbeat(found, USER_STREAM)
    limiter, circuit = found.limiter, found.circuit
    held = max(limiter.holds.values(), default=0) if limiter else 0
    by_stream = covering(stream, found.now) == "stream"
    age = age_seconds(found, monitor.at if monitor else None)
    late = age is None or age > 2 * found.monitor_interval.total_seconds()
    return [
        _figure("Emergency stop", ess.state if ess else "never read", _tone(bool(ess and ess.permitted))),
        _figure("Monitor", NOTHING if age is None else f"{age:.0f} s ago", _tone(not late), "last cycle"),
        _figure(
            "Fills come by",
            "stream" if by_stream else "polling",
            "done" if by_stream else "warn",
            lag_text(stream.details if stream else {}),
        ),
        _figure(
            "Rate limiter",
            f"{limiter.available:.0f} left" if limiter else NOTHING,
            "warn" if held or limiter is None else "done",
            f"of {found.rpm_limit} a minute" + (f", held {held:.0f} s" if held else ""),
        ),
        _figure(
            "Circuit breaker",
            circuit.state.value if circuit else NOTHING,
            _tone(circuit is not None and circuit.state is CircuitState.CLOSED),
        ),
    ]


def _figure(title: str, value: object, tone: str, about: str = "") -> Mapping[str, object]:
    return {"title": title, "value": value, "tone": tone, "about": about}


def _tone(is_well: bool) -> str:  # noqa: FBT001 -- its only argument
    return "done" if is_well else "bad"


def lag_text(details: Mapping[str, object]) -> str:
    lag = details.get("lag_ms_p50")
    return f"lag {lag:.0f} ms" if isinstance(lag, int | float) else ""


def latency_figure() -> Mapping[str, object]:
    took = recent_latencies()
    if not took:
        return _figure("Decision to entry", NOTHING, "plain", "milliseconds")
    middle = sorted(took)[len(took) // 2]
    figure = _figure("Decision to entry", f"{middle:.0f} ms", "plain", f"median of the last {len(took)}")
    return {**figure, "spark": spark(took), "spark_width": SPARK_WIDTH, "spark_height": SPARK_HEIGHT}


def spark(values: Sequence[float]) -> str:
    """Return the points of a line through values, from left to right, 0 at the bottom."""
    top = max(values) or 1
    step = SPARK_WIDTH / max(1, len(values) - 1)
    return " ".join(f"{i * step:.1f},{SPARK_HEIGHT - value / top * SPARK_HEIGHT:.1f}" for i, value in enumerate(values))


def positions_section(now: datetime) -> dict[str, object]:
    found = open_positions(now)
    columns = (
        ("Position", position_cell),
        ("Side", lambda each: side(each.position.direction)),
        ("Size", lambda each: quantity(each.position.quantity, display_grid(each.position))),
        ("Entry", lambda each: price(each.position.entry_price, display_grid(each.position))),
        (
            "Mark",
            lambda each: price(each.position.mark_price, display_grid(each.position)) if each.is_read else NOTHING,
        ),
        ("PnL USD", lambda each: won(each.pnl_usd)),
        ("R", lambda each: ratio(each.r_multiple)),
        ("Stop", stop_cell),
        ("Target", target_cell),
        ("Protection", lambda each: protection_cell(each, now)),
        ("Age", lambda each: elapsed_text(each.trade.entry_at, now) if each.trade else NOTHING),
        ("Strategy", lambda each: (each.trade.request.strategy if each.trade else "") or NOTHING),
    )
    shown = table("Open positions", columns, found.shown, empty="Nothing is open.")
    return {"positions": shown, "positions_total": found.total, "open_pnl": won(found.pnl_usd, "USD")}


def position_cell(each: OpenPosition) -> Cell:
    if each.trade is None:
        return badge(f"{each.position.symbol} not ours", "warn")
    return linked(address_of_trade(each.trade.pk), each.position.symbol, f"position-{each.trade.pk}")


def stop_cell(each: OpenPosition) -> Cell:
    """Return the first live stop, and how far the mark price is from it in percent of the mark price."""
    away, grid = each.stop, display_grid(each.position)
    if away is None:
        triggers = [order.trigger_price for order in each.held.stops if order.trigger_price]
        return price(triggers[0], grid) if triggers else NOTHING
    return f"{price(away.trigger, grid)} ({away.percent:.2f} %)"


def target_cell(each: OpenPosition) -> Cell:
    target = price(each.target_price, display_grid(each.position))
    return target if each.target_percent is None else f"{target} ({each.target_percent:.2f} %)"


def protection_cell(each: OpenPosition, now: datetime) -> Cell:
    """Return what protects the position, and the age of the last evidence of that."""
    if each.trade is None:
        return badge("not ours to protect", "warn")
    if not each.held.stop_required and not each.held.cover.protected:
        return badge("no stop planned", "warn")
    means = each.held.cover.protected_by
    words = badge(COVER_WORDS[means], COVER_TONES[means])
    seconds = max(0, int((now - each.evidence_at).total_seconds()))
    return format_html("{} {} s ago", words, seconds)


def entries_section(now: datetime) -> dict[str, object]:
    columns = (
        ("Entry", lambda order: linked(address_of_decision(order.request_id), order.symbol, f"entry-{order.pk}")),
        ("State", lambda order: state(order.state)),
        ("Order", lambda order: f"{order.side} {order.order_type}"),
        ("Quantity", lambda order: quantity(order.quantity, display_grid(order))),
        ("Filled", lambda order: quantity(order.executed_quantity, display_grid(order))),
        ("Price", lambda order: price(order.price, display_grid(order))),
        ("Age", lambda order: elapsed_text(order.sent_at, now)),
        ("Strategy", lambda order: order.request.strategy or NOTHING),
    )
    rows: list[Order] = resting_entries()
    return {"entries": table("Resting entries", columns, rows, empty="No entry rests.")}


def decisions_section(now: datetime) -> dict[str, object]:
    found: Decisions = decisions_since(now.replace(hour=0, minute=0, second=0, microsecond=0))
    columns = (
        ("Received", lambda each: linked(address_of_decision(each.pk), f"{each.received_at:%H:%M:%S}", f"d-{each.pk}")),
        ("Symbol", lambda each: each.symbol),
        ("Side", lambda each: side(each.direction)),
        ("Size", asked_size),
        ("Strategy", lambda each: each.strategy or NOTHING),
        ("Verdict", lambda each: state(each.state)),
        ("Reason", lambda each: each.reason_code or NOTHING),
    )
    decisions = table("Decisions of today (UTC)", columns, found.shown, empty="No decision has come today.")
    return {"decisions": decisions, "verdicts": found.by_state, "decisions_total": found.total}


def asked_size(each: ExecutionRequest) -> str:
    if each.notional_usd is not None:
        return f"{amount(each.notional_usd)} USD"
    return rounded_text(each.base_quantity_asked, None)


def performance_section(now: datetime) -> dict[str, object]:
    return {
        "results": [
            _results("Last 30 days by strategy", "Strategy", performance(now, "strategy")),
            _results("Last 30 days by symbol", "Symbol", performance(now, "symbol")),
        ]
    }


def _results(caption: str, head: str, rows: Sequence[Performance]) -> Table:
    columns = (
        (head, lambda each: each.name or "none named"),
        ("Trades", lambda each: str(each.trades)),
        ("Win rate", lambda each: f"{each.win_percent:.0f} %"),
        ("Profit factor", lambda each: NOTHING if each.profit_factor is None else f"{each.profit_factor:.2f}"),
        ("Expectancy R", lambda each: ratio(each.expectancy_r)),
        ("Slippage", lambda each: f"{each.slippage_bps:.1f} bps"),
        ("Net USD", lambda each: won(each.net_usd)),
    )
    return table(caption, columns, rows, empty="No trade has closed.")


# What a section shows is what the admin's table asks a permission for.
SECTIONS: tuple[tuple[str, Section], ...] = (
    ("execution.view_killswitch", condition_section),
    ("execution.view_position", positions_section),
    ("execution.view_order", entries_section),
    ("execution.view_executionrequest", decisions_section),
    ("execution.view_trade", performance_section),
)
