"""What a route is and what its handler gets: the shared vocabulary of the HTTP side."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from paper_exchange.core.accounts import Account
from paper_exchange.core.exchange import Exchange
from paper_exchange.core.market import Market
from paper_exchange.errors import missing, refuse
from paper_exchange.http.params import Params

# Security of a route: nothing, the key header, or key, timestamp and signature.
PUBLIC: Final = "public"
KEYED: Final = "keyed"
SIGNED: Final = "signed"


@dataclass(frozen=True, slots=True)
class Call:
    """One request that passed security. `account` is the caller's on all but public routes."""

    exchange: Exchange
    params: Params
    now: int
    caller: Account | None

    @property
    def account(self) -> Account:
        if self.caller is None:
            raise missing("X-MBX-APIKEY")
        return self.caller

    def market(self) -> Market:
        """Return the market of the mandatory parameter `symbol`."""
        return self.exchange.state.market(self.params.required("symbol"))

    def chosen_market(self) -> Market | None:
        """Return the market of the optional parameter `symbol`."""
        name = self.params.text("symbol")
        return self.exchange.state.market(name) if name else None

    def past_market(self) -> Market:
        """Return the market of the mandatory parameter `symbol`, also of a contract that is no longer listed."""
        return self.exchange.state.past_market(self.params.required("symbol"))

    def chosen_past_market(self) -> Market | None:
        """Return the market of the optional parameter `symbol`, also of a contract that is no longer listed."""
        name = self.params.text("symbol")
        return self.exchange.state.past_market(name) if name else None

    def limit(self, default: int, most: int) -> int:
        """Return the page size: the default when not sent.

        -1130 above the most, or the most where that is assumed.
        """
        wanted = self.params.limit(default)
        if wanted > most and self.exchange.state.assumptions.limit_above_most == "refuse":
            raise refuse(-1130, name="limit")
        return min(wanted, most)

    def markets(self) -> list[Market]:
        """Return the chosen market alone, or all."""
        chosen = self.chosen_market()
        return [chosen] if chosen else list(self.exchange.state.markets.values())


Weight = int | Callable[[Params], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    handler: Callable[[Call], object]
    security: str = SIGNED
    weight: Weight = 1
    # What a call adds to the order counters of 10 s and 1 min.
    orders: tuple[int, int] | None = None
    # Counted in the pool of funding rates instead of by weight.
    is_funding: bool = False

    def weigh(self, params: Params) -> int:
        return self.weight if isinstance(self.weight, int) else self.weight(params)


def per_symbol(with_symbol: int, without: int) -> Weight:
    """Weight of a call that costs more when it asks for all symbols."""
    return lambda params: with_symbol if params.has("symbol") else without


RouteTable = dict[tuple[str, str], Route]
SUCCESS: Final = {"code": 200, "msg": "success"}
