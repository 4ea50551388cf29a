"""What the pages of a decision and of a trade show, each part from the rows of its story."""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from execution.admin import tables
from execution.admin.numbers import NOTHING, Grid, amount, display_grid, price, quantity, ratio, won
from execution.admin.shared import Cell, moment_text, pretty_json
from execution.admin.tables import Table, side, state, table
from execution.dashboard.cells import address_of_decision, address_of_trade, badge, duration_text, elapsed_text
from execution.domain.money import basis_points
from execution.domain.remedies import remedy
from execution.domain.states import TRADE_OPEN, RequestTrigger
from execution.models import AuditEvent, ExecutionRequest, Trade
from execution.queries.requests import Story, story_of
from execution.queries.story import RecordedRule, chapters
from execution.queries.trade_now import TradeNow, trade_now

Figure = tuple[str, Cell, Cell]
MOST_EVENTS = 100
# The stages of a decision, by what moves it, in their order.
STAGES: tuple[tuple[str, str], ...] = (
    (RequestTrigger.ESS_CLEARED, "emergency stop asked"),
    (RequestTrigger.GUARD_APPROVED, "approved"),
    (RequestTrigger.SUBMISSION_STARTED, "entry sent"),
    (RequestTrigger.EXCHANGE_ACCEPTED, "entry acknowledged"),
    (RequestTrigger.ENTRY_FILLED, "entry filled"),
    (RequestTrigger.COVER_CONFIRMED, "stop accepted"),
    (RequestTrigger.FILLS_BOOKED, "books written"),
)


def decision_context(pk: UUID) -> dict[str, object]:
    """Return what the page of a decision shows.

    Raises:
        ExecutionRequest.DoesNotExist: there is no such decision.

    """
    story = story_of(pk)
    request, grid = story.request, display_grid(story.request)
    return {
        "title": f"Decision {request.symbol} {request.direction}",
        "request_row": request,
        "story": story,
        "figures": decision_figures(request, grid),
        "remedy": remedy(request.reason_code, request.reason),
        "rules": rules_table(story),
        "timings": timings_table(story),
        "orders": tables.orders(story.orders, grid),
        "chapters": chapters(story),
        "audit": audit_table(story.transitions),
        "events": [(event, pretty_json(event.payload)) for event in story.events[-MOST_EVENTS:]],
        "links": links_of(request),
        "trade_address": address_of_trade(pk) if story.trade else "",
    }


def trade_context(trade: Trade) -> dict[str, object]:
    """Return what the page of a trade shows: its decision's page, with fills, result and present position."""
    now, context = trade_now(trade), decision_context(trade.pk)
    grid = display_grid(trade)
    return {
        **context,
        "title": f"Trade {trade.symbol} {trade.direction}",
        "trade": trade,
        "is_open": trade.state in TRADE_OPEN,
        "figures": list(trade_figures(now, grid)),
        "fills": tables.fills(now.fills, grid),
        "decision_address": address_of_decision(trade.pk),
    }


def decision_figures(request: ExecutionRequest, grid: Grid | None) -> list[Figure]:
    asked = f"asked for {amount(request.notional_usd)} USD" if request.notional_usd else ""
    return [
        (request.symbol, side(request.direction), f"{request.order_type} {request.leverage}x from {request.source}"),
        ("Verdict", state(request.state), request.reason_code or "no rule was broken"),
        ("Received", moment_text(request.received_at), format_html("decided {}", moment_text(request.decided_at))),
        ("Quantity", quantity(request.quantity or request.base_quantity_asked, grid), asked),
        ("Stop", price(request.stop_price or request.stop_price_asked, grid), ""),
        ("Target", price(request.target_price or request.target_price_asked, grid), ""),
        ("Strategy", request.strategy or NOTHING, request.model),
    ]


def trade_figures(now: TradeNow, grid: Grid | None) -> Iterator[Figure]:
    """Yield the figures of a trade: result or live PnL, what it cost, how far it went both ways."""
    trade, position, asset = now.trade, now.position, now.trade.quote_asset
    yield f"{trade.symbol} {trade.leverage}x", side(trade.direction), trade.request.strategy
    yield "State", state(trade.state), trade.close_reason
    if trade.state in TRADE_OPEN:
        booked = format_html("booked so far {}", won(now.realized_pnl)) if trade.exited_quantity else "before fees"
        yield "Live PnL", won(now.unrealized_pnl, asset), booked
        yield "Open quantity", quantity(now.open_quantity, grid), elapsed_text(trade.entry_at, timezone.now())
        yield "Mark price", price(position.mark_price if position else None, grid), "as last read"
        yield "Mark to stop", tables.distance(now.stop_distance, grid), ""
    else:
        yield "Net PnL", won(trade.net_pnl, asset), format_html("gross {}", won(trade.gross_pnl))
        yield "R", ratio(trade.r_multiple), f"{amount(trade.margin)} {asset} of margin"
        yield "Exit", price(trade.exit_price, grid), moment_text(trade.exit_at)
    yield "Entry", price(trade.entry_price, grid), moment_text(trade.entry_at)
    yield "Fees", f"{amount(trade.entry_fees + trade.exit_fees)} {asset}", f"of the entry {amount(trade.entry_fees)}"
    yield "Funding", won(trade.funding, asset), ""
    slippage = f"{basis_points(trade.slippage_fraction):.2f} bps"
    yield "Slippage", slippage, f"planned {price(trade.reference_price, grid)}"
    if (went := trade.excursion) is not None:
        yield "Best and worst", format_html("{} {}", won(went.favourable), won(went.adverse)), "while it was open"


def rules_table(story: Story) -> Table:
    """Return each rule of the guard with the numbers of the last judgement."""
    judged = [step for step in story.transitions if "rules" in step.details]
    rules: Sequence[RecordedRule] = judged[-1].details["rules"] if judged else ()
    columns = (
        ("Rule", lambda rule: str(rule["rule"])),
        ("Numbers", lambda rule: str(rule["numbers"])),
        ("Verdict", rule_verdict),
    )
    version = judged[-1].details.get("policy_version") if judged else None
    caption = "Rules" if version is None else f"Rules of policy version {version}"
    return table(caption, columns, rules, empty="The guard has not judged this decision.")


def rule_verdict(rule: RecordedRule) -> Cell:
    if rule["refusal"]:
        return badge(rule["refusal"], "bad")
    if rule["after"] is not None:
        return badge(f"adjusted {rule['before']} to {rule['after']}", "warn")
    return badge("passed", "done")


def timings_table(story: Story) -> Table:
    """Return the stages of a decision with the time that each took since the one before."""
    reached = [("decided", story.request.decided_at), ("received", story.request.received_at)]
    steps = {step.trigger: step.at for step in reversed(story.transitions) if step.entity == "request"}
    reached += [(name, steps[trigger]) for trigger, name in STAGES if trigger in steps]
    if story.trade and story.trade.exit_at:
        reached.append(("closed", story.trade.exit_at))
    rows = [(name, at, at - before) for (name, at), (_, before) in zip(reached, [reached[0], *reached], strict=False)]
    columns = (
        ("Stage", lambda row: row[0]),
        ("At", lambda row: row[1].isoformat(timespec="milliseconds")),
        ("After the one before", lambda row: took_text(row[2])),
    )
    return table("Timings", columns, rows, empty="")


def took_text(took: timedelta) -> str:
    """Write a duration in milliseconds, from a minute on in larger units."""
    if abs(took) < timedelta(minutes=1):
        return f"{took / timedelta(milliseconds=1):.0f} ms"
    return duration_text(took)


def audit_table(lines: Sequence[AuditEvent]) -> Table:
    columns = (
        ("At", lambda line: line.at.isoformat(timespec="milliseconds")),
        ("What", lambda line: line.entity if line.entity != "order" else f"order {line.entity_id}"),
        ("Step", lambda line: f"{line.from_state} to {line.to_state}" if line.from_state else line.to_state),
        ("By", lambda line: line.trigger),
        ("Reason", lambda line: line.reason or line.reason_code or NOTHING),
    )
    return table("Audit", columns, lines, empty="Nothing is written.")


def links_of(request: ExecutionRequest) -> list[tuple[str, str]]:
    """Return where else the decision is shown."""
    return [
        ("Decision in the admin", reverse("admin:execution_executionrequest_change", args=[request.pk])),
        ("Orders in the admin", f"{reverse('admin:execution_order_changelist')}?q={request.pk}"),
        ("Journal in the admin", f"{reverse('admin:execution_auditevent_changelist')}?q={request.pk}"),
    ]
