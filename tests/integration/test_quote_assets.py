"""Contracts in other assets than USDT, at the exchange: what is told in USD is, and the books are what the wallet got.

One BTC is 50,000 USD by the asset index; ETHBTC stands at 0.05 with its best prices at 0.05001 and 0.04999.
"""

from decimal import Decimal
from typing import Any

import pytest

from execution.api.serializers.positions import PositionsOut
from execution.domain import policy as keys
from execution.domain.external import ExternalPositions
from execution.domain.sizing import SizingMode
from execution.domain.states import RequestState
from execution.models import AuditEvent, ExecutionRequest, Position, Trade
from execution.queries.positions import held_positions
from execution.risk.decision_snapshot import replay
from execution.risk.policy_store import set_policy_value
from execution.risk.proposal import as_json, proposal_of
from tests.support.desk import Desk

pytestmark = pytest.mark.django_db
D = Decimal
INDEX = "/fapi/v1/assetIndex"
# By contract: its quote asset, USD per unit, price and distance of an exit.
CONTRACTS: dict[str, tuple[str, str, float]] = {
    "ETHBTC": ("BTC", "50000", 0.05),
    "BNBBTC": ("BTC", "50000", 0.012),
    "BTCUSDC": ("USDC", "1", 50_000.0),
    "ETHUSDC": ("USDC", "1", 2_500.0),
    "BTCUSDT": ("USDT", "1", 50_000.0),
}
SIDES = [("buy", 1), ("sell", -1)]


def wish(symbol: str, sign: int, usd: float = 1000.0) -> dict[str, Any]:
    """Return a decision of so many USD with its exits 2 % and 4 % away."""
    price = CONTRACTS[symbol][2]
    exits = {"stop_loss": price * (1 - sign * 0.02), "take_profit": price * (1 + sign * 0.04)}
    return {"entry_price": price, "position_size_usd": usd, "leverage": 5, **exits}


def balances(desk: Desk) -> dict[str, Decimal]:
    return {row["asset"]: D(row["balance"]) for row in desk.person.balance()}


def at(symbol: str, share: float) -> str:
    digits = {"ETHBTC": 5, "BNBBTC": 6, "BTCUSDC": 1, "ETHUSDC": 2, "BTCUSDT": 1}[symbol]
    return f"{CONTRACTS[symbol][2] * share:.{digits}f}"


def approval(request_id: Any) -> Any:
    return AuditEvent.objects.get(entity_id=str(request_id), trigger="guard_approved").details


def in_index_outage(desk: Desk) -> None:
    desk.paper.add_fault(path=INDEX, method="GET", action="drop_before", count=1000)


@pytest.mark.parametrize(("side", "sign"), SIDES)
@pytest.mark.parametrize("ends", ["target", "stop"])
@pytest.mark.parametrize("symbol", list(CONTRACTS))
def test_the_books_are_what_the_wallet_got_and_usd_is_that_at_the_index(
    desk: Desk, symbol: str, ends: str, side: str, sign: int
) -> None:
    asset, index, _ = CONTRACTS[symbol]
    before = balances(desk)

    request_id = desk.trade_opened(symbol, side, **wish(symbol, sign))
    desk.cycle()
    desk.paper.set_price(symbol, at(symbol, 1 + sign * (0.045 if ends == "target" else -0.025)))
    desk.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.close_reason) == ("CLOSED", "TP" if ends == "target" else "SL")
    # It should be worth 1000 USD at most, and not less by as much as a lot
    worth = trade.quantity * trade.entry_price * D(index)
    assert D(900) < worth <= D(1000)
    # It should be, in its own asset, what the wallet has got, and nothing in any other
    after = balances(desk)
    assert {name: after[name] - before[name] for name in after if after[name] != before[name]} == {asset: trade.net_pnl}
    # It should be told in USD wherever it says so
    assert (trade.quote_asset, trade.quote_index) == (asset, D(index))
    assert trade.net_pnl is not None
    usd = trade.net_pnl * D(index)
    told = desk.event(request_id, "trade.closed")
    assert trade.net_pnl_usd == usd
    assert [told[name] for name in ("pnl_usd", "realized_pnl")] == [float(usd)] * 2
    assert (told["net_pnl_quote"], told["quote_asset"], told["quote_index"]) == (
        float(trade.net_pnl),
        asset,
        float(index),
    )
    assert told["fees_usd"] == pytest.approx(float((trade.entry_fees + trade.exit_fees) * D(index)))
    assert trade.margin_usd == pytest.approx(worth / 5)
    # It should keep ratios within one asset
    assert trade.pnl_percent == pytest.approx(trade.net_pnl / trade.margin * 100)
    assert trade.r_multiple == pytest.approx(
        trade.net_pnl / (abs(trade.entry_price - trade.stop_price) * trade.quantity)
    )


@pytest.mark.parametrize(("side", "sign"), SIDES)
def test_limits_add_usd_over_all_quote_assets(desk: Desk, side: str, sign: int) -> None:
    opened = [desk.trade_opened(symbol, side, **wish(symbol, sign)) for symbol in ("ETHBTC", "BTCUSDC", "BTCUSDT")]
    trades = [desk.trade(request_id) for request_id in opened]
    desk.cycle()

    seen = desk.decide("ETHUSDC", side, **wish("ETHUSDC", sign))
    desk.run(seen, until="guard_safety")

    usage = approval(seen)["usage"]
    prices = {"BTC": D(50_000), "USDC": D(1), "USDT": D(1)}
    exposure = sum(trade.quantity * trade.entry_price * prices[trade.quote_asset] for trade in trades)
    risk = sum(
        trade.quantity * abs(trade.entry_price - desk.request(trade.pk).stop_price) * prices[trade.quote_asset]
        for trade in trades
    )
    loss = sum(
        min(row.unrealized_pnl, D(0)) * prices[row.quote_asset] for row in Position.objects.exclude(symbol="ETHUSDC")
    )
    assert D(usage["exposure"]) == pytest.approx(exposure)
    assert D(usage["open_risk"]) == pytest.approx(risk)
    assert D(usage["open_loss"]) == pytest.approx(loss)
    assert D(2700) < D(usage["exposure"]) <= D(3000)
    # It should hold this entry's own USD against the limit
    assert usage["unpriced"] == ""


def test_the_largest_exposure_is_in_usd(desk: Desk) -> None:
    set_policy_value(keys.MAX_SYMBOL_EXPOSURE, D(900), source="test", now=desk.clock())
    request_id = desk.decide("ETHBTC", **wish("ETHBTC", 1))

    assert desk.run(request_id) is RequestState.DENIED
    # 0.39 ETH at 0.05001 are 0.0195039 BTC
    assert desk.request(request_id).reason == "SYMBOL_EXPOSURE_EXCEEDS_LIMIT: expected<=900 actual=975.195"


def test_positions_are_totalled_in_usd(desk: Desk) -> None:
    for symbol in ("ETHBTC", "BTCUSDT"):
        desk.trade_opened(symbol, **wish(symbol, 1))
    desk.paper.set_price("ETHBTC", "0.051")
    desk.cycle()

    shown = PositionsOut.of(held_positions()).data

    by_symbol = {row["symbol"]: row for row in shown["positions"]}
    # (0.051 - 0.05001) x 0.39 = 0.0003861 BTC = 19.305 USD
    assert by_symbol["ETHBTC"]["unrealized_pnl_quote"] == pytest.approx(0.0003861)
    assert by_symbol["ETHBTC"]["unrealized_pnl"] == pytest.approx(19.305)
    assert shown["total_unrealized_pnl"] == pytest.approx(19.305 + by_symbol["BTCUSDT"]["unrealized_pnl"])
    assert shown["total_margin_usd"] == pytest.approx(sum(row["margin_usd"] for row in shown["positions"]))
    assert D(150) < D(by_symbol["ETHBTC"]["margin_usd"]) < D(250)
    assert shown["unpriced"] == []


@pytest.mark.parametrize("multi", [False, True])
def test_equity_is_what_stands_behind_the_contract(desk: Desk, *, multi: bool) -> None:
    """0.1 BTC are 5000 USD in single-asset mode; together with 10000 USDT, 5000 USDC and BNB they are more."""
    if multi:
        desk.paper.control("POST", "settings", {"multi_assets": True})
    for key, value in ((keys.SIZING_MODE, D(SizingMode.EQUITY_FRACTION)), (keys.EQUITY_FRACTION, D("0.05"))):
        set_policy_value(key, value, source="test", now=desk.clock())

    request_id = desk.trade_opened("ETHBTC", **wish("ETHBTC", 1))

    equity = D(approval(request_id)["inputs"]["equity"])
    total = D(desk.person.account()["totalMarginBalance"])
    assert equity == (D(5000) if not multi else pytest.approx(total, abs=20))
    size = desk.trade(request_id).quantity * D("0.05001") * 50_000
    assert equity * D("0.05") - 26 < size <= equity * D("0.05")


def test_a_verdict_in_btc_is_judged_the_same_from_the_journal_alone(desk: Desk) -> None:
    request_id = desk.trade_opened("ETHBTC", **wish("ETHBTC", 1))

    kept = approval(request_id)
    assert D(kept["inputs"]["quote_index"]["price"]) == D(50_000)
    assert [as_json(rule) for rule in replay(proposal_of(desk.request(request_id)), kept)] == kept["rules"]
    # It should renew the approval by the same index when the policy has changed meanwhile
    set_policy_value(keys.MAX_LEVERAGE, D(19), source="test", now=desk.clock())
    other = desk.decide("BNBBTC", **wish("BNBBTC", 1))
    desk.run(other, until="guard_safety")
    set_policy_value(keys.MAX_LEVERAGE, D(18), source="test", now=desk.clock())
    assert desk.run(other) is RequestState.RECORDED


@pytest.mark.parametrize(("amount", "direction"), [("0.40", "LONG"), ("-0.40", "SHORT")])
def test_a_position_of_somebody_else_is_adopted_with_its_usd(desk: Desk, amount: str, direction: str) -> None:
    desk.external = ExternalPositions.ADOPT
    desk.paper.control("POST", "position", {"symbol": "ETHBTC", "amount": amount})

    for _ in range(4):
        desk.clock.let_pass(61)
        desk.cycle()

    trade = Trade.objects.get()
    assert (trade.direction, trade.quote_asset, trade.quote_index) == (direction, "BTC", D(50_000))
    assert trade.margin_usd == pytest.approx(trade.margin * 50_000)
    assert D(40) < trade.margin_usd < D(1000)


def test_what_was_adopted_unpriced_is_named_until_it_is_priced(desk: Desk) -> None:
    in_index_outage(desk)
    desk.external = ExternalPositions.ADOPT
    desk.paper.control("POST", "position", {"symbol": "ETHBTC", "amount": "0.40"})
    for _ in range(4):
        desk.clock.let_pass(61)
        desk.cycle()
    trade = Trade.objects.get()
    refused = desk.decide()

    # It should be protected all the same, stand in no sum, and keep entries out that would rest on such a sum
    assert (trade.quote_index, trade.margin_usd) == (None, None)
    assert desk.ledger.live_stops
    assert desk.run(refused) is RequestState.DENIED
    assert desk.request(refused).reason == "QUOTE_ASSET_UNPRICED: unpriced=ETHBTC"
    assert PositionsOut.of(held_positions()).data["unpriced"] == ["ETHBTC"]

    desk.paper.clear_faults()
    later = desk.another()
    later.cycle()

    # It should count from the first index that is read
    assert Trade.objects.get().quote_index == D(50_000)
    assert ExecutionRequest.objects.get(pk=trade.pk).quote_index == D(50_000)
    assert later.run(later.decide()) is RequestState.RECORDED


def test_a_close_does_not_wait_for_the_index(desk: Desk) -> None:
    request_id = desk.trade_opened("ETHBTC", **wish("ETHBTC", 1))
    in_index_outage(desk)
    desk.paper.set_price("ETHBTC", "0.0525")
    later = desk.another()
    later.cycle()

    trade = desk.trade(request_id)
    assert (trade.state, trade.quote_index) == ("CLOSED", D(50_000))
    assert trade.net_pnl is not None
    assert trade.net_pnl_usd == trade.net_pnl * 50_000
    closed = AuditEvent.objects.get(entity="trade", entity_id=str(request_id), trigger="all_exited")
    assert closed.details["quote_index"].endswith("(of the entry)")


def test_an_outage_of_the_index_is_asked_about_once_in_a_while(desk: Desk) -> None:
    in_index_outage(desk)

    states = [desk.run(desk.decide(symbol)) for symbol in ("BTCUSDT", "ETHUSDT", "SOLUSDT")]

    assert states[0] is RequestState.RECORDED
    assert len([row for row in desk.ledger.requests if row["path"] == INDEX]) == 1
