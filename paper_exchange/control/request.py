"""A control call as it came, and the parts of the exchange on which it can act."""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from paper_exchange.core.accounts import Account
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.market import Market
from paper_exchange.http.faults import Faults
from paper_exchange.http.ledger import RequestLedger
from paper_exchange.http.limits import Limits
from paper_exchange.mirror import Mirror
from paper_exchange.ws.user_stream import UserStream

Body = dict[str, object]
MOST_TIMES = 1000


class ControlError(ValueError):
    """A control call that cannot be understood."""


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """One control call: its JSON body and its query."""

    body: Body
    query: dict[str, str]

    def text(self, name: str) -> str:
        value = self.body.get(name)
        if not isinstance(value, str) or not value:
            raise ControlError(f"{name} must be a text")
        return value

    def optional_text(self, name: str) -> str | None:
        return self.text(name) if self.body.get(name) is not None else None

    def decimal(self, name: str) -> Decimal:
        try:
            value = Decimal(str(self.body.get(name)))
        except InvalidOperation as error:
            raise ControlError(f"{name} must be a decimal number") from error
        if not value.is_finite():
            raise ControlError(f"{name} must be a finite number")
        return value

    def optional_decimal(self, name: str) -> Decimal | None:
        return self.decimal(name) if self.body.get(name) is not None else None

    def integer(self, name: str) -> int:
        value = self.body.get(name)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ControlError(f"{name} must be an integer")
        return value

    def optional_integer(self, name: str) -> int | None:
        return self.integer(name) if self.body.get(name) is not None else None

    def times(self) -> int:
        """Return how often the call repeats its action. Once by default."""
        times = self.integer("times") if "times" in self.body else 1
        if not 1 <= times <= MOST_TIMES:
            raise ControlError(f"times must be 1 to {MOST_TIMES}")
        return times

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self.body.get(name, default)
        if not isinstance(value, bool):
            raise ControlError(f"{name} must be true or false")
        return value

    def number(self, name: str, default: int) -> int:
        """Return an integer of the query."""
        try:
            return int(self.query.get(name, default))
        except ValueError as error:
            raise ControlError(f"{name} must be an integer") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Levers:
    """What control calls act on."""

    exchange: Exchange
    faults: Faults
    limits: Limits
    ledger: RequestLedger
    users: UserStream
    mirror: Mirror | None = None

    def account(self, key: object) -> Account:
        account = self.exchange.state.accounts.get(str(key))
        if account is None:
            raise ControlError("no account with this key")
        return account

    def owner(self, request: ControlRequest) -> Account:
        """Return the account that a body names, the one called paper otherwise."""
        return self.account(request.body.get("key", "paper"))

    def market(self, request: ControlRequest) -> Market:
        return self.exchange.state.market(request.text("symbol"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One control call. Those that change the exchange itself go into its journal."""

    run: Callable[[Levers, ControlRequest], object]
    changes: bool = True


Actions = dict[tuple[str, str], Action]
