"""The Algo Service: conditional orders wait for a price and then become ordinary orders."""

from decimal import Decimal
from heapq import heappush
from typing import Final

from paper_exchange.core import rules
from paper_exchange.core.accounts import Account, closes
from paper_exchange.core.contract_changes import check_control, check_status
from paper_exchange.core.market import Market
from paper_exchange.core.matching import reducible
from paper_exchange.core.money import ZERO
from paper_exchange.core.order_entry import GIVEN_ID_LENGTH, OrderEntry
from paper_exchange.core.orders import ALGO_OPEN, LIMIT_CONDITIONAL, AlgoOrder, AlgoTicket, Order, PositionSide, Ticket
from paper_exchange.core.retention import GOOD_TILL_CANCEL_MS
from paper_exchange.core.state import State
from paper_exchange.core.triggers import Hold, TriggerRule
from paper_exchange.errors import ExchangeError, refuse

MAX_OPEN: Final = 200
# Reasons in the exchange's words, for an order refused at its trigger.
_REASONS: Final = {-2019: "margin not enough", -2022: "Reduce Only reject"}


def rises_to(ticket: AlgoTicket) -> bool:
    """Return whether a condition is met from below: buy stops and sell targets."""
    return (ticket.side == "BUY") == ticket.type.startswith("STOP")


def is_met(ticket: AlgoTicket, price: Decimal) -> bool:
    return price >= ticket.trigger_price if rises_to(ticket) else price <= ticket.trigger_price


class AlgoService:
    def __init__(self, state: State, order_entry: OrderEntry) -> None:
        self._state = state
        self._order_entry = order_entry

    def place(self, account: Account, ticket: AlgoTicket) -> AlgoOrder:
        """Accept a conditional order. It binds no margin before its trigger."""
        market = self._state.market(ticket.symbol)
        algo = self._checked(account, market, ticket)
        self._state.add_algo(algo)
        self._watch(market, algo)
        end = ticket.good_till or algo.created + GOOD_TILL_CANCEL_MS
        heappush(self._state.expiring, (end, algo.algo_id, algo))
        self._state.listener.algo_changed(algo)
        return algo

    def find(self, account: Account, algo_id: int | None, client_id: str | None) -> AlgoOrder | None:
        if algo_id is not None:
            return account.algo_by_id.get(algo_id)
        return account.algo_by_client.get(client_id or "")

    def cancel(self, account: Account, algo_id: int | None, client_id: str | None) -> AlgoOrder:
        algo = self.find(account, algo_id, client_id)
        if algo is None or not algo.is_open:
            raise refuse(self._cancel_code(algo))
        self.close(algo, "CANCELED")
        return algo

    def cancel_all(self, account: Account, symbol: str) -> int:
        """Cancel the waiting conditional orders of a symbol and return how many there were."""
        algos = [algo for algo in account.open_algos.values() if algo.symbol.name == symbol and algo.is_open]
        for algo in algos:
            self.close(algo, "CANCELED")
        return len(algos)

    def close(self, algo: AlgoOrder, status: str, reason: str = "") -> None:
        """End a conditional order that became no ordinary one."""
        self._unwatch(algo)
        self._state.triggers.forget(algo)
        self._move(algo, status, reason)

    def check_price(self, market: Market) -> None:
        """Trigger what the market's present prices reach."""
        for working_type, watch in market.watches.items():
            for algo in watch.reached(market.working_price(working_type)):
                if algo.is_open and not self._is_protected(market, algo):
                    self.trigger(market, algo)
        for algo in list(market.trailing.values()):
            if algo.is_open and self._trail(market, algo):
                self.trigger(market, algo)

    def trigger(self, market: Market, algo: AlgoOrder) -> None:
        """Turn a conditional order into an ordinary one, unless a rule of the control API holds or ends it."""
        triggers = self._state.triggers
        rule = triggers.pick(algo) if triggers.rules else None
        self._unwatch(algo)
        if rule is not None and rule.action == "IGNORE":
            # It waits on as if its price had not been reached, and can be cancelled.
            algo.account.open_algos[algo.algo_id] = algo
            triggers.hold(algo, rule, self._state.clock.now_ms())
            return
        algo.triggered_at = self._state.clock.now_ms()
        self._move(algo, "TRIGGERING")
        if rule is None or rule.action == "REST":
            self._send(market, algo, rule)
        elif rule.action == "STICK":
            algo.account.open_algos[algo.algo_id] = algo
            triggers.hold(algo, rule, algo.triggered_at)
        else:
            self._end_at_trigger(algo, rule.action, rule.reason)

    def let_go(self, hold: Hold) -> None:
        """Release an order that a rule has held, in the way that the rule prescribes."""
        algo, rule = hold.algo, hold.rule
        algo.account.open_algos.pop(algo.algo_id, None)
        if algo.order is not None:
            self._let_order_go(algo.order, rule)
        elif algo.status not in {"TRIGGERING", "NEW"}:
            # It ended with its contract meanwhile.
            return
        elif rule.release == "TRIGGER":
            self._send(self._state.markets[algo.symbol.name], algo)
        else:
            self._end_at_trigger(algo, rule.release, rule.reason)

    def _let_order_go(self, order: Order, rule: TriggerRule) -> None:
        """Match an order that has rested unfilled, or end it.

        One that was cancelled or amended is left alone.
        """
        if not order.is_open or order.queue_key is not None:
            return
        if rule.release == "TRIGGER":
            self._order_entry.match(order)
        else:
            self._order_entry.end(order, "EXPIRED")

    def _end_at_trigger(self, algo: AlgoOrder, action: str, reason: str) -> None:
        """End a conditional order whose price was reached without an ordinary order."""
        if action == "EXPIRE":
            self._move(algo, "EXPIRED")
        elif action == "FINISH":
            self._move(algo, "FINISHED")
        else:
            self._move(algo, "REJECTED", reason)

    def _send(self, market: Market, algo: AlgoOrder, rule: TriggerRule | None = None) -> None:
        """Hand a triggered order to the matching engine, which may still refuse it.

        `rule` lets it rest unfilled.
        """
        ticket = self._triggered_ticket(market, algo)
        if ticket is None:
            self._end_without_position(algo)
            return
        try:
            order = self._order_entry.place(algo.account, ticket, algo, at_rest=rule is not None)
        except ExchangeError as refusal:
            self._move(algo, "REJECTED", _REASONS.get(refusal.code, refusal.msg))
            return
        self._move(algo, "TRIGGERED")
        if not order.is_open:
            self._move(algo, "FINISHED")
        elif rule is not None:
            self._state.triggers.hold(algo, rule, algo.triggered_at)

    def order_ended(self, order: Order) -> None:
        """Finish the conditional order whose ordinary order was filled or cancelled."""
        if order.algo is not None and order.algo.status == "TRIGGERED":
            self._move(order.algo, "FINISHED")

    def position_ended(self, filled: Order) -> None:
        """End the conditional orders that live only as long as their position."""
        for algo in list(filled.account.open_algos.values()):
            same = algo.symbol is filled.symbol and algo.position_side == filled.position_side
            if same and algo.is_open and algo.ticket.time_in_force == "GTE_GTC":
                self.close(algo, "EXPIRED")

    def _end_without_position(self, algo: AlgoOrder) -> None:
        rejects = algo.ticket.close_position and self._state.assumptions.close_without_position == "reject"
        self._end_at_trigger(algo, "REJECT" if rejects else "EXPIRE", _REASONS[-2022])

    def _cancel_code(self, algo: AlgoOrder | None) -> int:
        """Code for a conditional order that cannot be cancelled: unknown, ended, or hanging in its trigger."""
        rule = None if algo is None else self._state.triggers.rule_of(algo)
        return -2011 if rule is None else rule.cancel_code

    def _triggered_ticket(self, market: Market, algo: AlgoOrder) -> Ticket | None:
        """Ordinary order for a trigger. None when there is no position left to close."""
        wanted = algo.ticket
        quantity = wanted.quantity
        if wanted.close_position:
            quantity = reducible(algo.account, market.symbol, wanted.side, algo.position_side)
            if not quantity:
                return None
        if wanted.time_in_force == "GTE_GTC" and not algo.account.amount(market.symbol, algo.position_side):
            return None
        is_limit = wanted.type in LIMIT_CONDITIONAL
        in_hedge = algo.account.dual_side
        return Ticket(
            symbol=wanted.symbol,
            side=wanted.side,
            type="LIMIT" if is_limit else "MARKET",
            quantity=quantity,
            price=wanted.price,
            time_in_force=wanted.time_in_force if is_limit else "GTC",
            position_side=algo.position_side,
            reduce_only=None if in_hedge else (algo.reduce_only or wanted.close_position),
            client_id=algo.client_id,
            price_match=wanted.price_match,
            stp=wanted.stp,
            good_till=wanted.good_till,
        )

    def _checked(self, account: Account, market: Market, ticket: AlgoTicket) -> AlgoOrder:
        position_side = rules.resolve_position_side(account, ticket.position_side)
        reduce_only = rules.resolve_reduce_only(account, ticket.reduce_only)
        if ticket.close_position and position_side != "BOTH" and not closes(ticket.side, position_side):
            raise refuse(-4136, type=ticket.type, close="true")
        reducing = reduce_only or closes(ticket.side, position_side)
        check_status(market.symbol, reducing=reducing or ticket.close_position)
        if not (reducing or ticket.close_position) and self._state.assumptions.control_conditional:
            check_control(market.symbol, ticket.side)
        self._check_single(account, market, ticket, position_side)
        flagged = reduce_only or self._state.assumptions.hedge_close_spared
        self._check_filters(market, ticket, spared=ticket.close_position or (reducing and flagged))
        self._check_id(account, ticket)
        if len(account.open_algos) >= self._most_open(account):
            raise refuse(-4045)
        now = self._state.clock.now_ms()
        algo = AlgoOrder(
            algo_id=next(self._state.algo_ids),
            account=account,
            symbol=market.symbol,
            client_id=ticket.client_id or self._state.texts.draw(GIVEN_ID_LENGTH),
            ticket=ticket,
            position_side=position_side,
            reduce_only=reducing,
            created=now,
            updated=now,
        )
        self._check_trigger(market, algo)
        return algo

    def _most_open(self, account: Account) -> int:
        """Return how many may be open.

        Each contract that exists nowhere brings room for a stop and a target.
        """
        return MAX_OPEN + 2 * self._state.config.extra_symbols if account.algo_limit is None else account.algo_limit

    def _check_filters(self, market: Market, ticket: AlgoTicket, *, spared: bool) -> None:
        symbol = market.symbol
        is_limit = ticket.type in LIMIT_CONDITIONAL
        if not ticket.close_position:
            rules.check_quantity(symbol, ticket.quantity, market=not is_limit)
        if is_limit and ticket.price_match == "NONE":
            rules.check_price(symbol, ticket.price)
        if ticket.type != "TRAILING_STOP_MARKET":
            rules.check_trigger(symbol, ticket.trigger_price)
        if ticket.time_in_force == "GTD":
            self._order_entry.check_good_till(ticket.good_till)
        if not spared:
            price = ticket.price or ticket.trigger_price or market.mark
            rules.check_notional(symbol, price * ticket.quantity)

    @staticmethod
    def _check_single(account: Account, market: Market, ticket: AlgoTicket, position_side: PositionSide) -> None:
        """Refuse a second stop, or a second target, that closes the whole position on one side."""
        if not ticket.close_position:
            return
        for algo in account.open_algos.values():
            known = (algo.symbol, algo.ticket.side, algo.position_side, algo.ticket.type)
            if algo.ticket.close_position and known == (market.symbol, ticket.side, position_side, ticket.type):
                raise refuse(-4130)

    def _check_id(self, account: Account, ticket: AlgoTicket) -> None:
        if ticket.client_id is None:
            return
        rules.check_client_id(ticket.client_id, "clientAlgoId")
        known = account.algo_by_client.get(ticket.client_id)
        if known is not None and known.status in ALGO_OPEN:
            raise refuse(-4116)

    def _check_trigger(self, market: Market, algo: AlgoOrder) -> None:
        ticket, price = algo.ticket, market.working_price(algo.ticket.working_type)
        if ticket.type != "TRAILING_STOP_MARKET":
            if is_met(ticket, price):
                raise refuse(-2021)
            return
        algo.extreme = price
        algo.activate_price = price if ticket.activate_price is None else ticket.activate_price
        if ticket.activate_price is None:
            algo.activated = True
            return
        rules.check_trigger(market.symbol, ticket.activate_price)
        if ticket.activate_price >= price if ticket.side == "BUY" else ticket.activate_price <= price:
            raise refuse(-2021)

    def _trail(self, market: Market, algo: AlgoOrder) -> bool:
        """Follow the best price since placement. True when the price has come back by the callback rate."""
        price, ticket = market.working_price(algo.ticket.working_type), algo.ticket
        buys, rate = ticket.side == "BUY", (ticket.callback_rate or ZERO) / 100
        algo.extreme = min(algo.extreme, price) if buys else max(algo.extreme, price)
        reached = algo.extreme <= algo.activate_price if buys else algo.extreme >= algo.activate_price
        if reached and not algo.activated:
            algo.activated = True
            algo.updated = self._state.clock.now_ms()
            self._state.listener.algo_changed(algo)
        turn = algo.extreme * (1 + rate if buys else 1 - rate)
        return algo.activated and (price >= turn if buys else price <= turn)

    @staticmethod
    def _is_protected(market: Market, algo: AlgoOrder) -> bool:
        gap = abs(market.mark - market.last) / market.last
        return algo.ticket.price_protect and gap > market.symbol.trigger_protect

    def _watch(self, market: Market, algo: AlgoOrder) -> None:
        if algo.ticket.type == "TRAILING_STOP_MARKET":
            market.trailing[algo.algo_id] = algo
        else:
            market.watches[algo.ticket.working_type].add(algo, rising=rises_to(algo.ticket))

    def _unwatch(self, algo: AlgoOrder) -> None:
        market = self._state.markets[algo.symbol.name]
        market.trailing.pop(algo.algo_id, None)
        market.watches[algo.ticket.working_type].remove(algo)
        algo.account.open_algos.pop(algo.algo_id, None)

    def _move(self, algo: AlgoOrder, status: str, reason: str = "") -> None:
        algo.status = status
        algo.reject_reason = reason
        algo.updated = self._state.clock.now_ms()
        if status not in ALGO_OPEN:
            self._state.retention.ended(algo)
        self._state.listener.algo_changed(algo)
