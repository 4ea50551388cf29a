"""What the paper exchange's own ledger says: the arbiter of what was sent, executed and left open."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from tests.support.paper import PaperExchange

Row = dict[str, Any]
ORDER, ALGO_ORDER = "/fapi/v1/order", "/fapi/v1/algoOrder"


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """One reading of the ledger and of the account's summary."""

    requests: list[Row]
    orders: list[Row]
    algo_orders: list[Row]
    fills: list[Row]
    summary: Row

    @classmethod
    def of(cls, paper: PaperExchange) -> "Ledger":
        ledger = paper.ledger()
        return cls(
            requests=ledger["requests"],
            orders=ledger["orders"],
            algo_orders=ledger["algo_orders"],
            fills=ledger["fills"],
            summary=paper.summary(),
        )

    def sent(self, method: str, path: str) -> list[Row]:
        """Return the parameters of every request of this kind, refused and unanswered ones too."""
        return [row["params"] for row in self.requests if (row["method"], row["path"]) == (method, path)]

    @property
    def entries_sent(self) -> list[Row]:
        """Ordinary orders that could add risk, as requested."""
        return [params for params in self.sent("POST", ORDER) if params.get("reduceOnly") != "true"]

    @property
    def entries(self) -> list[Row]:
        """Ordinary orders that could add risk, as the exchange has them."""
        return [order for order in self.orders if not order["reduceOnly"] and order["algoId"] is None]

    def live(self, kind: str = "", symbol: str = "") -> list[Row]:
        """Return the waiting conditional orders of a type and symbol."""
        return [
            algo
            for algo in self.algo_orders
            if algo["algoStatus"] == "NEW" and kind in {"", algo["orderType"]} and symbol in {"", algo["symbol"]}
        ]

    @property
    def live_stops(self) -> list[Row]:
        return self.live("STOP_MARKET")

    @property
    def live_targets(self) -> list[Row]:
        return self.live("TAKE_PROFIT_MARKET")

    @property
    def positions(self) -> dict[str, Decimal]:
        """Signed quantities by symbol."""
        return {row["symbol"]: Decimal(row["positionAmt"]) for row in self.summary["positions"]}

    @property
    def held(self) -> dict[tuple[str, str], Decimal]:
        """Signed quantities by symbol and position side: in hedge mode a symbol may have two."""
        return {(row["symbol"], row["positionSide"]): Decimal(row["positionAmt"]) for row in self.summary["positions"]}

    @property
    def mark_prices(self) -> dict[str, Decimal]:
        """Mark prices of the contracts in which there is a position."""
        return {row["symbol"]: Decimal(row["markPrice"]) for row in self.summary["positions"]}

    @property
    def net_pnl(self) -> Decimal:
        """Realised PnL minus commissions plus funding and what liquidations cost, of the whole account, in USDT."""
        return net_of(self.summary)

    @property
    def net_by_asset(self) -> dict[str, Decimal]:
        """Return the same of each asset in which contracts are margined or fees are paid."""
        return {asset: net_of(sums) for asset, sums in self.summary["assets"].items()}

    @property
    def margin_assets(self) -> dict[str, str]:
        """Margin assets of the contracts that were traded, by symbol."""
        return {fill["symbol"]: fill["marginAsset"] for fill in self.fills}


def net_of(sums: Row) -> Decimal:
    figures = {name: Decimal(sums[name]) for name in ("realized_pnl", "commission", "funding", "other")}
    return figures["realized_pnl"] - figures["commission"] + figures["funding"] + figures["other"]
