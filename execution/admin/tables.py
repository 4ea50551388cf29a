"""Small tables on the pages of the admin: orders, fills and positions, each cell written for people."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from execution.admin.numbers import NOTHING, Grid, amount, display_grid, price, quantity, won
from execution.admin.shared import Cell, moment_text
from execution.domain.states import ORDER_FINAL
from execution.domain.stop_distance import StopDistance
from execution.models import ExecutionRequest, Fill, Order, Position
from execution.queries.positions import HeldPosition

R = TypeVar("R")
# The heads of a table, each with what writes its cell of a row.
Columns = Sequence[tuple[str, Callable[[R], Cell]]]


@dataclass(frozen=True, kw_only=True)
class Table:
    """A caption, the heads of the columns, and rows of as many cells.

    `empty` is shown when there is no row.
    """

    caption: str
    empty: str
    head: Sequence[str]
    rows: Sequence[Sequence[tuple[str, Cell]]]


def table(caption: str, columns: Columns[R], rows: Iterable[R], *, empty: str) -> Table:
    """Write each row by the columns. A cell carries its head, which stands beside it on a phone."""
    cells = [[(head, write(row)) for head, write in columns] for row in rows]
    return Table(caption=caption, empty=empty, head=[head for head, _ in columns], rows=cells)


def link(row: Model | None, text: str = "") -> Cell:
    """Return a link to a row's page in the admin."""
    if row is None:
        return NOTHING
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    return format_html('<a class="xs-link" href="{}">{}</a>', address, text or str(row))


def state(word: str) -> SafeString:
    """Return a state as a badge, coloured by whether something is under way, done or wrong."""
    return format_html('<span class="xs-badge xs-badge-{}">{}</span>', TONES.get(word, "plain"), word)


TONES = {
    **dict.fromkeys(("OPEN", "REDUCED", "ACCEPTED", "PROTECTED", "PARTIALLY_FILLED", "ARMED"), "open"),
    **dict.fromkeys(("FILLED", "CLOSED", "RECORDED", "released"), "done"),
    **dict.fromkeys(("UNKNOWN", "SUBMITTING", "TRIGGERED", "FLATTENED", "entries", "PENDING"), "warn"),
    **dict.fromkeys(("DENIED", "REJECTED", "NOT_ACCEPTED", "WRITTEN_OFF", "TRIPPED", "halt", "flatten"), "bad"),
}


def side(direction: str) -> SafeString:
    return format_html('<span class="xs-side xs-side-{}">{}</span>', direction.lower(), direction)


def age_text(order: Order) -> str:
    """Return how long ago an order was sent that is not over yet."""
    return "" if order.state in ORDER_FINAL else timesince(order.sent_at)


def evidence(order: Order, *, dated: bool = True) -> Cell:
    """Return the last evidence of an order, and since when its outcome has been unknown."""
    at = moment_text(order.last_evidence_at) if dated and order.last_evidence_at else ""
    known = format_html("{} {}", order.last_evidence, at)
    if not order.alarmed_at:
        return known
    return format_html('{} <strong class="xs-loss">unsettled since {}</strong>', known, moment_text(order.alarmed_at))


def orders(rows: Iterable[Order], grid: Grid | None) -> Table:
    """Return a trade's or request's orders with what is known of each."""
    columns: Columns[Order] = (
        ("Order", lambda order: link(order, order.purpose)),
        ("State", lambda order: state(order.state)),
        ("Side and type", lambda order: f"{order.side} {order.order_type}"),
        ("Quantity", lambda order: quantity(order.quantity, grid)),
        ("Executed", lambda order: quantity(order.executed_quantity, grid)),
        ("Price", lambda order: price(order.price, grid)),
        ("Trigger", lambda order: price(order.trigger_price, grid)),
        ("Open for", lambda order: age_text(order) or NOTHING),
        ("Last evidence", evidence),
        ("Client order id", lambda order: format_html('<span class="xs-code">{}</span>', order.client_order_id)),
    )
    return table("Orders", columns, rows, empty="No order was sent.")


def fills(rows: Iterable[Fill], grid: Grid | None) -> Table:
    """Return fills as the exchange booked them."""
    columns: Columns[Fill] = (
        ("Fill", lambda fill: link(fill, str(fill.exchange_trade_id))),
        ("For", lambda fill: fill.order.purpose if fill.order else "not ours"),
        ("Side", lambda fill: "BUY" if fill.buyer else "SELL"),
        ("Quantity", lambda fill: quantity(fill.quantity, grid)),
        ("Price", lambda fill: price(fill.price, grid)),
        ("Realised PnL", lambda fill: NOTHING if fill.entry else won(fill.realized_pnl)),
        ("Fee", lambda fill: f"{amount(fill.commission)} {fill.commission_asset}"),
        ("Filled at", lambda fill: moment_text(fill.filled_at)),
    )
    return table("Fills", columns, rows, empty="No fill is booked.")


def distance(away: StopDistance | None, grid: Grid | None) -> Cell:
    """Return how far the mark price is from the stop, in red where it is past it or where there is none."""
    if away is None:
        return format_html('<strong class="xs-loss">{}</strong>', "no live stop")
    text = f"{price(away.price, grid)} ({away.percent:.2f} %)"
    return text if away.price > 0 else format_html('<strong class="xs-loss">{} passed</strong>', text)


def held(rows: Iterable[HeldPosition]) -> Table:
    """Return the open positions of the last reading with their stops."""
    columns: Columns[HeldPosition] = (
        ("Position", lambda each: link(each.position.trade or each.position, each.position.symbol)),
        ("Side", lambda each: side(each.position.direction)),
        ("PnL", lambda each: won(each.position.unrealized_pnl, each.position.quote_asset)),
        ("Quantity", lambda each: quantity(each.position.quantity, display_grid(each.position))),
        ("Entry", lambda each: price(each.position.entry_price, display_grid(each.position))),
        ("Mark", lambda each: price(each.position.mark_price, display_grid(each.position))),
        (
            "Stop",
            lambda each: price(each.stop_distance.trigger if each.stop_distance else None, display_grid(each.position)),
        ),
        ("Distance", lambda each: distance(each.stop_distance, display_grid(each.position))),
        ("Read at", lambda each: moment_text(each.position.observed_at)),
    )
    return table("Open positions", columns, rows, empty="Nothing is open.")


def closing(rows: Iterable[Position], caption: str) -> Table:
    """Return positions that the kill switch would close, or leave alone."""
    columns: Columns[Position] = (
        ("Position", lambda row: link(row.trade or row, row.symbol)),
        ("Side", lambda row: side(row.direction)),
        ("Quantity", lambda row: quantity(row.quantity, display_grid(row))),
        ("Mark", lambda row: price(row.mark_price, display_grid(row))),
        ("Worth", lambda row: f"{amount(row.quantity * row.mark_price)} {row.quote_asset}"),
        ("PnL now", lambda row: won(row.unrealized_pnl, row.quote_asset)),
        ("Read at", lambda row: moment_text(row.observed_at)),
    )
    return table(caption, columns, rows, empty="None.")


def unread(rows: Iterable[ExecutionRequest]) -> Table:
    """Return what our fills have opened and no reading of the exchange has shown yet."""
    columns: Columns[ExecutionRequest] = (
        ("Position", lambda row: link(row, row.symbol)),
        ("Side", lambda row: side(row.direction)),
        ("Approved quantity", lambda row: quantity(row.quantity, display_grid(row))),
        ("Received at", lambda row: moment_text(row.received_at)),
    )
    return table("Positions that are closed and that no reading has shown yet", columns, rows, empty="None.")


def entries(rows: Iterable[Order]) -> Table:
    """Return entries that the kill switch cancels or settles."""
    columns: Columns[Order] = (
        ("Entry", lambda order: link(order, order.symbol)),
        ("State", lambda order: state(order.state)),
        ("Side and type", lambda order: f"{order.side} {order.order_type}"),
        ("Quantity", lambda order: quantity(order.quantity, display_grid(order))),
        ("Executed", lambda order: quantity(order.executed_quantity, display_grid(order))),
        ("Price", lambda order: price(order.price, display_grid(order))),
        ("Client order id", lambda order: format_html('<span class="xs-code">{}</span>', order.client_order_id)),
    )
    return table("Entries that are cancelled", columns, rows, empty="None.")
