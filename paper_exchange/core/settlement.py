"""Booking of a fill: position, realised PnL, fee, wallet and income, as published."""

from decimal import Decimal

from paper_exchange.core.accounts import Position
from paper_exchange.core.margin_assets import DISCOUNT, fee
from paper_exchange.core.money import ZERO, to_cash
from paper_exchange.core.orders import Fill, Order
from paper_exchange.core.state import State


def settle(
    state: State,
    order: Order,
    price: Decimal,
    quantity: Decimal,
    *,
    maker: bool,
    trade_id: int,
    fee_rate: Decimal | None = None,
    profit: str = "REALIZED_PNL",
) -> Fill:
    """Execute `quantity` of an order at `price` and return the fill as booked.

    `profit` is its type of income.
    """
    account, now = order.account, state.clock.now_ms()
    position = account.position(order.symbol, order.position_side)
    signed = quantity if order.side == "BUY" else -quantity
    quote = price * quantity
    if fee_rate is None:
        fee_rate = _fee_rate(state, order, maker=maker)
    margin, due = account.margin_of(order.symbol), quote * fee_rate
    commission, asset = fee(state, account, due, margin)
    before = position.amount
    realized = to_cash(position.apply(signed, price))
    account.note_position(position)
    if account.setting(order.symbol).isolated:
        position.isolated_wallet = isolated_margin(
            position, before, signed, price, account.setting(order.symbol).leverage
        )
    paid = commission if asset == margin else to_cash(due * DISCOUNT)
    position.open_fees = carried_fees(position, before, signed, paid)
    position.realized += realized
    position.updated = now
    fill = Fill(
        trade_id=trade_id,
        order=order,
        price=price,
        quantity=quantity,
        quote=quote,
        realized=realized,
        commission=commission,
        commission_asset=asset,
        maker=maker,
        time=now,
    )
    _book_order(state, order, fill)
    _book_income(state, fill, profit)
    return fill


def _fee_rate(state: State, order: Order, *, maker: bool) -> Decimal:
    if not maker:
        return state.config.taker_rate
    return state.config.rpi_rate if order.time_in_force == "RPI" else state.config.maker_rate


def carried_fees(position: Position, before: Decimal, signed: Decimal, commission: Decimal) -> Decimal:
    """Fees paid for what is open after a fill of `signed`, for the break-even price."""
    after = position.amount
    if not after:
        return ZERO
    if before * signed >= 0:
        return position.open_fees + commission
    if before * after > 0:
        return position.open_fees * after / before
    return commission * abs(after / signed)


def isolated_margin(position: Position, before: Decimal, signed: Decimal, price: Decimal, leverage: int) -> Decimal:
    """Margin of an isolated position after a fill: opened parts add theirs, closed parts release it."""
    after = position.amount
    if before * signed >= 0:
        return position.isolated_wallet + to_cash(abs(signed) * price / leverage)
    if before * after > 0:
        return to_cash(position.isolated_wallet * after / before)
    return to_cash(abs(after) * price / leverage)


def _book_order(state: State, order: Order, fill: Fill) -> None:
    order.executed += fill.quantity
    order.quote += fill.quote
    order.updated = fill.time
    order.status = "PARTIALLY_FILLED" if order.remaining else "FILLED"
    order.fills.append(fill)
    order.account.fills[order.symbol.name].append(fill)
    state.fills.append(fill)


def _book_income(state: State, fill: Fill, profit: str) -> None:
    account, symbol, trade_id = fill.order.account, fill.order.symbol.name, str(fill.trade_id)
    if fill.realized:
        state.book_income(
            account,
            profit,
            fill.realized,
            symbol=symbol,
            info=trade_id,
            trade_id=trade_id,
            asset=account.margin_of(fill.order.symbol),
        )
    if not fill.commission:
        return
    state.book_income(
        account,
        "COMMISSION",
        -fill.commission,
        symbol=symbol,
        info=trade_id,
        trade_id=trade_id,
        asset=fill.commission_asset,
    )
