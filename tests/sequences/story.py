"""One sequence: a decision on a contract of its own, and what happens to it until its position has ended."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID

from execution.domain.money import floor_to
from execution.models import ExecutionRequest
from tests.sequences.contract import Contract, text
from tests.support.ledger import Ledger

D = Decimal
ALGO, ORDER = "/fapi/v1/algoOrder", "/fapi/v1/order"
# Sizes in USD, from what every contract refuses to what most split.
SIZES = (3, 12, 60, 120, 160, 400, 900, 1800)
# Refusals that the venue is known to give for a while: they must be outlived, whatever they say.
REFUSALS = (-1008, -1001, -4014, -1111, -4005, -2022, -2019, -4164)
FAULTS = ("drop_after", "drop_before")


@dataclass(kw_only=True)
class Story:
    """One sequence, told by its number: the same number acts in the same way on the same listing."""

    number: int
    contract: Contract
    random: Random
    done: Counter[str]
    asked: list[UUID] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    @property
    def symbol(self) -> str:
        return self.contract.symbol

    def held(self, ledger: Ledger) -> dict[str, Decimal]:
        """Return the signed amounts of the contract's positions, by position side."""
        rows = [row for row in ledger.summary["positions"] if row["symbol"] == self.symbol]
        return {row["positionSide"]: D(row["positionAmt"]) for row in rows}

    def begin(self) -> None:
        """Send the first decision; now and then its order fills in part only."""
        if self.random.random() < 0.3:
            fraction = text(D(self.random.randint(1, 9)) / 10)
            rest = self.random.choice(("NORMAL", "EXPIRED", "CANCELED"))
            self._control("portions", fraction=fraction, rest=rest, parts=self.random.choice((1, 2)))
        self.decide()

    def act(self, ledger: Ledger) -> None:
        """Let one thing happen: to the price, the terms, the orders, or by somebody else's hand."""
        if not self.contract.trades:
            # Delivered, or about to be: nobody but a decision can do anything about it.
            return self.decide()
        held = self.held(ledger)
        resting = [row for row in ledger.entries if row["symbol"] == self.symbol and row["status"] in OPEN]
        acts: list[Callable[[], None]] = [self._drift, self._drift, self._change_terms, self._change_terms]
        acts += [self._refuse_for_a_while, self._lose_an_answer, self.decide]
        if resting:
            acts += [self._reach_entry(resting), self._reach_entry(resting), self._fill_in_part(resting[0])]
            acts += [self._cancel_entry(resting[0])]
        if held:
            acts += [self._reach(ledger, "STOP_MARKET"), *[self._reach(ledger, "TAKE_PROFIT_MARKET")] * 3, self._leap]
            acts += [self._reduce_by_hand(side, amount) for side, amount in held.items()]
        return self.random.choice(acts)()

    def end(self) -> None:
        """End what is open: the terms of the beginning, no fault, entries cancelled, the price through the stop."""
        if not self.contract.trades:
            return
        self.contract.restore()
        # A coarser tick has moved the price, and that may have filled what rested.
        ledger = Ledger.of(self.contract.desk.paper)
        for row in ledger.entries:
            if row["symbol"] == self.symbol and row["status"] in OPEN:
                self._note("entry cancelled", self._post, "orders/end", _named(row))
        if self.held(ledger):
            self._reach(ledger, "STOP_MARKET")()

    def close_by_hand(self, ledger: Ledger) -> None:
        """Close what is left, as a person would; for positions that the end of the story has not closed."""
        if not self.contract.trades:
            return
        for side, amount in self.held(ledger).items():
            self._bring_to(side, amount, D(0))

    # Decisions

    def decide(self) -> None:
        """Send a decision of any kind: by USD or by quantity, at market or with a limit, with any exits."""
        side = self.random.choice(("buy", "sell"))
        usd = D(self.random.choice(SIZES)) * D(self.random.randint(80, 120)) / 100
        by_usd = self.random.random() < 0.4
        self.asked.append(self._by_usd(side, usd) if by_usd else self._by_quantity(side, usd))
        state = self.contract.desk.run(self.asked[-1])
        reason = ExecutionRequest.objects.get(pk=self.asked[-1]).reason_code
        self.done[f"decision {state} {reason}".strip()] += 1
        self.log.append(f"{side} {usd:.0f} USD: {state} {reason}")

    def _by_usd(self, side: str, usd: Decimal) -> UUID:
        sign = 1 if side == "buy" else -1
        fields: dict[str, Any] = {"position_size_usd": float(usd), "quantity": float(usd)}
        if self.random.random() < 0.6:
            fields["stop_loss"] = float(self._away(-sign))
        if self.random.random() < 0.5:
            fields["take_profit"] = float(self._away(sign))
        return self.contract.desk.decide(self.symbol, side, **fields)

    def _by_quantity(self, side: str, usd: Decimal) -> UUID:
        sign = 1 if side == "buy" else -1
        quantity = self.contract.quantity_for(usd)
        if self.contract.trades and self.random.random() < 0.25:
            # Its exits need several orders; a MARKET entry is too large itself.
            self.contract.limit_market_orders(quantity * D(self.random.choice(("0.3", "0.45", "0.7"))))
        fields: dict[str, Any] = {"quantity": text(quantity), **self._exits(sign)}
        kind = self.random.choice(("market", "rests", "takes"))
        if kind != "market":
            away = D(self.random.randint(1, 8)) / 1000
            fields["price"] = text(self.contract.price_at(away * (sign if kind == "takes" else -sign)))
        return self.contract.desk.signal(self.symbol, side, **fields)

    def _exits(self, sign: int) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.random.random() < 0.7:
            fields["stop_loss"] = text(self._away(-sign))
        targets = sorted((self._away(sign) for _ in range(self.random.choice((0, 1, 2, 3)))), reverse=sign < 0)
        share = text((D(1) / len(targets)).quantize(D("0.001"))) if targets else "1"
        if targets:
            fields["take_profits"] = [{"price": text(price), "share": share} for price in targets]
        if self.random.random() < 0.25:
            fields["trailing"] = {"callback_percent": text(D(self.random.randint(3, 20)) / 10)}
        if self.random.random() < 0.3:
            fields["break_even"] = True
        if self.random.random() < 0.15:
            fields["time_exit_seconds"] = self.random.randint(60, 100_000)
        return fields

    def _away(self, sign: int) -> Decimal:
        """Return an exit's price, half a percent to six percent away."""
        return self.contract.price_at(sign * D(self.random.randint(5, 60)) / 1000)

    # What happens

    def _drift(self) -> None:
        self._to(self.contract.price * (1 + D(self.random.randint(-40, 40)) / 10_000), "price drifts")

    def _leap(self) -> None:
        self._to(self.contract.price * (1 + D(self.random.choice((-8, -3, 3, 8))) / 100), "price leaps")

    def _to(self, price: Decimal, what: str) -> None:
        self._note(f"{what} to {price:.8f}", self.contract.move, price)

    def _reach(self, ledger: Ledger, kind: str) -> Callable[[], None]:
        """Return what lets the price reach the nearest order of a kind, and a tick beyond."""

        def reach() -> None:
            prices = [D(row["triggerPrice"]) for row in ledger.live(kind, self.symbol)]
            if not prices:
                return self._drift()
            nearest = min(prices, key=lambda price: abs(price - self.contract.price))
            beyond = self.contract.tick if nearest > self.contract.price else -self.contract.tick
            return self._to(nearest + beyond, f"price reaches {kind}")

        return reach

    def _reach_entry(self, resting: Sequence[dict[str, Any]]) -> Callable[[], None]:
        return lambda: self._to(D(resting[0]["price"]), "price reaches the entry")

    def _fill_in_part(self, row: dict[str, Any]) -> Callable[[], None]:
        quantity = floor_to(D(row["origQty"]) * D(self.random.randint(2, 8)) / 10, self.contract.step)
        left = D(row["origQty"]) - D(row["executedQty"])
        if not 0 < quantity <= left:
            return self._drift
        body = {**_named(row), "quantity": text(quantity)}
        return lambda: self._note("entry filled in part", self._post, "orders/fill", body)

    def _cancel_entry(self, row: dict[str, Any]) -> Callable[[], None]:
        return lambda: self._note("entry cancelled", self._post, "orders/end", _named(row))

    def _reduce_by_hand(self, side: str, amount: Decimal) -> Callable[[], None]:
        half = floor_to(abs(amount) / 2, self.contract.step) * (1 if amount > 0 else -1)
        rest = half if self.random.random() < 0.5 else D(0)
        return lambda: self._bring_to(side, amount, rest)

    def _bring_to(self, side: str, amount: Decimal, rest: Decimal) -> None:
        """Let somebody else reduce the position, in as many orders as the venue's maximum and step ask for."""
        most = floor_to(self.contract.terms["market_max_quantity"], self.contract.step)
        left = floor_to(abs(amount - rest), self.contract.step)
        order: dict[str, Any] = {"side": "SELL" if amount > 0 else "BUY", "position_side": side}
        # In hedge mode the side alone makes an order reducing, and the flag is refused.
        order |= {"reduce_only": True} if side == "BOTH" else {}
        while left:
            part = min(left, most)
            self._control("orders", quantity=text(part), **order)
            left -= part

    def _change_terms(self) -> None:
        changed = self.contract.change_at_random()
        self.done[f"{changed} changed"] += 1
        self.log.append(f"{changed} is {self.contract.terms[changed]}")

    def _refuse_for_a_while(self) -> None:
        code, path = self.random.choice(REFUSALS), self.random.choice((ALGO, ORDER))
        self._fault(path, "refuse", code=code, count=self.random.randint(1, 3))

    def _lose_an_answer(self) -> None:
        self._fault(self.random.choice((ALGO, ORDER)), self.random.choice(FAULTS), count=1)

    def _fault(self, path: str, action: str, **fields: Any) -> None:
        fault = {"path": path, "method": "POST", "action": action, "match": {"symbol": self.symbol}, **fields}
        self._note(f"{action} {fields.get('code', '')} {path}", self._post, "faults", fault)

    def _control(self, call: str, **body: Any) -> None:
        self._note(call, self._post, call, {"symbol": self.symbol, **body})

    def _post(self, call: str, body: dict[str, Any]) -> None:
        self.contract.desk.paper.control("POST", call, body)

    def _note(self, what: str, act: Callable[..., Any], *arguments: Any) -> None:
        self.done[what.partition(" to ")[0]] += 1
        self.log.append(what)
        act(*arguments)


OPEN = frozenset({"NEW", "PARTIALLY_FILLED"})


def _named(row: dict[str, Any]) -> dict[str, Any]:
    return {"order": row["clientOrderId"]}
