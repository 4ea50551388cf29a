"""What entries cannot go by, from one reading of contracts and account; and what of the listing it is read from."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import responses

from execution.adapters.binance.client import BinanceExchange
from execution.adapters.binance.connector import VenueConnection
from execution.adapters.binance.parse import all_rules
from execution.adapters.binance.setup import SetupRules
from execution.adapters.binance.terms import contracts_of
from execution.domain.ports import ExchangeUnavailableError
from execution.domain.rate_limits import Limits
from execution.domain.reasons import Reason
from execution.domain.venue_status import (
    HEDGE,
    ONE_WAY,
    ContractTerms,
    ExpectedSettings,
    SymbolSettings,
    Terms,
    find_blocks,
)
from tests.unit.test_binance_client import BASE, Clock, Remembered, Turns, sent
from tests.unit.test_binance_parse import exchange_info

ENDS = datetime(2026, 12, 1, 9, tzinfo=UTC)
TRADING = ContractTerms(status="TRADING")
AS_TOLD = Terms(
    contracts={"BTCUSDT": TRADING, "ETHUSDT": TRADING},
    settings={symbol: SymbolSettings(leverage=5, margin_type="CROSSED") for symbol in ("BTCUSDT", "ETHUSDT")},
    position_mode="one-way",
    may_trade=True,
)
OURS = ExpectedSettings(
    position_mode="one-way",
    held=frozenset({"BTCUSDT"}),
    traded=frozenset({"BTCUSDT"}),
    leverages={"BTCUSDT": frozenset({5})},
    now=ENDS - timedelta(days=80),
)


def told(terms: Terms = AS_TOLD, ours: ExpectedSettings = OURS) -> list[tuple[str, Reason, str, bool]]:
    return [(each.scope, each.code, each.sentence, each.alarming) for each in find_blocks(terms, ours)]


def with_contract(symbol: str, **terms: Any) -> Terms:
    return replace(AS_TOLD, contracts={**AS_TOLD.contracts, symbol: ContractTerms(**terms)})


def with_settings(symbol: str, leverage: int, margin_type: str) -> Terms:
    changed = SymbolSettings(leverage=leverage, margin_type=margin_type)
    return replace(AS_TOLD, settings={**AS_TOLD.settings, symbol: changed}, demanded_margin="CROSSED")


def test_what_nobody_has_said_is_demanded_and_assumed_of_nothing() -> None:
    assert ExpectedSettings(position_mode="hedge", now=ENDS) == ExpectedSettings(
        position_mode="hedge",
        held=frozenset(),
        traded=frozenset(),
        leverages={},
        now=ENDS,
        no_entry_before_end=timedelta(days=1),
    )
    assert (AS_TOLD.demanded_mode, AS_TOLD.demanded_margin, AS_TOLD.rules) == ("any", "any", {})
    assert (("one-way", "hedge"), ContractTerms(status="TRADING", dated=False)) == ((ONE_WAY, HEDGE), TRADING)


def test_nothing_stands_in_the_way_when_all_is_as_assumed() -> None:
    assert told() == []
    assert told(replace(AS_TOLD, demanded_mode="one-way", demanded_margin="CROSSED")) == []


@pytest.mark.parametrize("status", ["BREAK", "SETTLING", "CLOSE", "PRE_DELIVERING", "SOMETHING_NEW"])
def test_a_contract_that_does_not_trade_is_named_with_its_status(status: str) -> None:
    [quiet] = told(with_contract("ETHUSDT", status=status))
    [loud] = told(with_contract("BTCUSDT", status=status))

    assert quiet == ("ETHUSDT", Reason.SYMBOL_NOT_TRADING, f"symbol=ETHUSDT status={status}", False)
    # It should be an alarm where a position is open.
    assert loud == ("BTCUSDT", Reason.SYMBOL_NOT_TRADING, f"symbol=BTCUSDT status={status}", True)


def test_an_announced_end_is_named_with_its_time() -> None:
    numbers = f"symbol=BTCUSDT status=TRADING delivers_at={ENDS.isoformat()}"
    assert told(with_contract("BTCUSDT", status="TRADING", delivers_at=ENDS)) == [
        ("BTCUSDT", Reason.SYMBOL_ENDS, numbers, True)
    ]
    # It should become a halt when the contract is settled, and keep its time.
    [settling] = told(with_contract("BTCUSDT", status="SETTLING", delivers_at=ENDS))
    assert settling[1:3] == (Reason.SYMBOL_NOT_TRADING, numbers.replace("TRADING", "SETTLING"))


def test_a_position_in_a_contract_that_is_no_longer_listed_is_an_alarm() -> None:
    assert told(ours=replace(OURS, held=frozenset({"OLDUSDT"}))) == [
        ("OLDUSDT", Reason.SYMBOL_NOT_TRADING, "symbol=OLDUSDT status=unlisted", True)
    ]


def test_another_position_mode_stands_against_every_entry() -> None:
    assert told(replace(AS_TOLD, position_mode="hedge")) == [
        ("ACCOUNT", Reason.POSITION_MODE_MISMATCH, "wanted=one-way found=hedge", True)
    ]


def test_an_account_that_may_not_trade_stands_against_every_entry() -> None:
    assert told(replace(AS_TOLD, may_trade=False)) == [
        ("ACCOUNT", Reason.ACCOUNT_MAY_NOT_TRADE, "canTrade=false", True)
    ]


def test_leverage_that_nobody_of_us_has_asked_for_is_named() -> None:
    changed = with_settings("BTCUSDT", 20, "CROSSED")
    assert told(changed) == [("BTCUSDT", Reason.LEVERAGE_MISMATCH, "symbol=BTCUSDT wanted=5 found=20", True)]

    # It should be right when an entry of ours has set it, as for the other side in hedge mode.
    assert told(changed, replace(OURS, leverages={"BTCUSDT": frozenset({5, 20})})) == []
    # It should not matter where no trade of ours is open: the next entry sets its own.
    assert told(with_settings("ETHUSDT", 20, "CROSSED")) == []


def test_a_margin_type_against_the_demand_is_named_where_we_trade() -> None:
    assert told(with_settings("BTCUSDT", 5, "ISOLATED")) == [
        ("BTCUSDT", Reason.MARGIN_TYPE_MISMATCH, "symbol=BTCUSDT wanted=CROSSED found=ISOLATED", True)
    ]
    # A symbol that nobody trades is looked at by its first entry.
    assert told(with_settings("ETHUSDT", 5, "ISOLATED")) == []
    # It should be taken as it is when none is demanded.
    assert told(replace(with_settings("BTCUSDT", 5, "ISOLATED"), demanded_margin="any")) == []


def test_no_code_comes_twice_in_a_scope() -> None:
    everything = replace(
        with_settings("BTCUSDT", 20, "ISOLATED"),
        contracts={"BTCUSDT": ContractTerms(status="BREAK", delivers_at=ENDS)},
        position_mode="hedge",
        may_trade=False,
    )
    keys = [(each.scope, each.code) for each in find_blocks(everything, OURS)]

    assert len(keys) == len(set(keys)) == 5


# The listing


def listed(**fields: Any) -> ContractTerms:
    row = {"symbol": "BTCUSDT", "status": "TRADING", "contractType": "PERPETUAL", "deliveryDate": 4_133_404_800_000}
    return contracts_of({"symbols": [row | fields]})["BTCUSDT"]


def test_the_far_end_of_a_perpetual_contract_is_no_announcement() -> None:
    assert listed() == TRADING
    assert listed(deliveryDate=0) == TRADING


def test_the_end_of_a_perpetual_contract_is_announced_by_its_delivery_date() -> None:
    at = int(ENDS.timestamp() * 1000)
    assert listed(deliveryDate=at) == ContractTerms(status="TRADING", delivers_at=ENDS)
    assert listed(deliveryDate=at, contractType="TRADIFI_PERPETUAL").delivers_at == ENDS
    assert listed(deliveryDate=at, contractType="PERPETUAL_DELIVERING", status="SETTLING").delivers_at == ENDS


@pytest.mark.parametrize("kind", ["CURRENT_QUARTER", "NEXT_QUARTER", "CURRENT_MONTH", "SOMETHING_NEW", ""])
def test_every_dated_contract_has_its_end_from_the_beginning(kind: str) -> None:
    found = listed(deliveryDate=int(ENDS.timestamp() * 1000), contractType=kind)

    assert found == ContractTerms(status="TRADING", delivers_at=ENDS, dated=True)


DAY = timedelta(days=1)
SECOND = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("window", "ahead", "held", "named"),
    [
        # A day before by default, for longer when the policy says so.
        (DAY, 80 * DAY, True, False),
        (DAY, DAY + SECOND, False, False),
        (DAY, DAY, False, True),
        (DAY, DAY / 24, False, True),
        (2 * DAY, 2 * DAY + SECOND, False, False),
        (2 * DAY, 2 * DAY, False, True),
        # With a position in it a day at least.
        (DAY / 24, DAY, False, False),
        (DAY / 24, DAY, True, True),
        (DAY * 0, DAY, True, True),
        (DAY * 0, SECOND, False, False),
        (DAY * 0, DAY * 0, False, True),
    ],
)
def test_a_dated_contract_is_about_to_end_when_its_delivery_comes_near(
    window: timedelta, ahead: timedelta, *, held: bool, named: bool
) -> None:
    symbol = "BTCUSDT" if held else "ETHUSDT"
    terms = with_contract(symbol, status="TRADING", delivers_at=ENDS, dated=True)

    found = told(terms, replace(OURS, now=ENDS - ahead, no_entry_before_end=window))

    sentence = f"symbol={symbol} status=TRADING delivers_at={ENDS.isoformat()}"
    assert found == ([(symbol, Reason.SYMBOL_ENDS, sentence, held)] if named else [])


@pytest.mark.parametrize(
    ("status", "ends_at"), [("PRE_DELIVERING", ENDS), ("PRE_SETTLE", ENDS), ("BREAK", None), ("DELIVERED", None)]
)
def test_what_takes_only_closing_orders_can_still_be_closed_before_its_end(
    status: str, ends_at: datetime | None
) -> None:
    [found] = find_blocks(with_contract("BTCUSDT", status=status, delivers_at=ENDS, dated=True), OURS)

    assert (found.code, found.alarming, found.ends_at) == (Reason.SYMBOL_NOT_TRADING, True, ends_at)


def test_a_listing_of_nothing_says_nothing() -> None:
    with pytest.raises(ExchangeUnavailableError):
        contracts_of({"symbols": []})


FAR_AWAY = datetime(2100, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("delivery", "ends"),
    [
        (FAR_AWAY, None),
        (FAR_AWAY - timedelta(milliseconds=1), FAR_AWAY - timedelta(milliseconds=1)),
        (datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC), datetime(1970, 1, 1, 0, 0, 0, 1000, tzinfo=UTC)),
        (datetime(1970, 1, 1, tzinfo=UTC), None),
    ],
)
def test_a_delivery_from_the_year_2100_on_is_none(delivery: datetime, ends: datetime | None) -> None:
    milliseconds = (delivery - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)

    assert listed(deliveryDate=milliseconds).delivers_at == ends
    assert listed(deliveryDate=str(milliseconds)).delivers_at == ends


def test_a_contract_without_delivery_and_kind_is_perpetual() -> None:
    assert contracts_of({"symbols": [{"symbol": "X", "status": "BREAK"}]}) == {"X": ContractTerms(status="BREAK")}
    assert listed(deliveryDate=None).delivers_at is None


# One reading


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


def answers(server: responses.RequestsMock, leverage: int, *, hedge: bool, trades: bool) -> None:
    """Let three calls tell everything, with limits of requests that are not the documented ones."""
    row = exchange_info() | {"contractType": "PERPETUAL", "deliveryDate": int(ENDS.timestamp() * 1000)}
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2401}]
    server.get(f"{BASE}/fapi/v1/exchangeInfo", json={"symbols": [row], "rateLimits": limits})
    server.get(f"{BASE}/fapi/v1/accountConfig", json={"canTrade": trades, "dualSidePosition": hedge})
    settings = {"symbol": "BTCUSDT", "leverage": leverage, "marginType": "ISOLATED"}
    server.get(f"{BASE}/fapi/v1/symbolConfig", json=[settings])


@pytest.mark.parametrize(("hedge", "trades", "mode"), [(True, False, "hedge"), (False, True, "one-way")])
def test_all_is_read_in_three_calls_and_told_to_who_goes_by_it(
    server: responses.RequestsMock, mode: str, *, hedge: bool, trades: bool
) -> None:
    answers(server, 7, hedge=hedge, trades=trades)
    limiter, cache = Turns(), Remembered(Clock())
    exchange = BinanceExchange(
        key="the-key",
        secret="the-secret",
        base_url=BASE,
        timeout_seconds=5,
        recv_window_ms=3000,
        line=VenueConnection(limiter=limiter, clock=None),
        rules=SetupRules(cache=cache, position_mode="hedge", margin_type="CROSSED"),
        monotonic=Clock(),
    )
    # What is known and right stays, what was changed since does not.
    cache.remember_symbol("BTCUSDT", SymbolSettings(leverage=5, margin_type="ISOLATED"))
    cache.remember_hedge_mode(hedge=not hedge)

    filters = all_rules({"symbols": [exchange_info()]})
    assert exchange.terms() == Terms(
        contracts={"BTCUSDT": ContractTerms(status="TRADING", delivers_at=ENDS)},
        settings={"BTCUSDT": SymbolSettings(leverage=7, margin_type="ISOLATED")},
        position_mode=mode,
        may_trade=trades,
        demanded_mode="hedge",
        demanded_margin="CROSSED",
        rules=filters,
    )
    assert sent(server) == [
        ("GET", "/fapi/v1/exchangeInfo", {}),
        ("GET", "/fapi/v1/accountConfig", {}),
        ("GET", "/fapi/v1/symbolConfig", {}),
    ]
    # It should hold the filters and the limits from then on, and forget the settings that have changed
    assert (exchange.known_rules("BTCUSDT"), limiter.limits) == (filters["BTCUSDT"], [Limits(weight=2401)])
    assert (cache.symbol("BTCUSDT"), cache.hedge_mode()) == (None, None)
    cache.remember_hedge_mode(hedge=hedge)
    exchange.terms()
    assert cache.hedge_mode() is hedge


# Every figure of a trouble


@pytest.mark.parametrize(
    ("status", "code", "closable"),
    [
        ("TRADING", Reason.SYMBOL_ENDS, True),
        ("PRE_DELIVERING", Reason.SYMBOL_NOT_TRADING, True),
        ("PRE_SETTLE", Reason.SYMBOL_NOT_TRADING, True),
        ("SETTLING", Reason.SYMBOL_NOT_TRADING, False),
        ("BREAK", Reason.SYMBOL_NOT_TRADING, False),
    ],
)
def test_an_end_is_told_while_a_position_can_be_closed(status: str, code: Reason, closable: bool) -> None:  # noqa: FBT001
    [found] = find_blocks(with_contract("ETHUSDT", status=status, delivers_at=ENDS), OURS)

    assert (found.scope, found.code, found.ends_at) == ("ETHUSDT", code, ENDS if closable else None)


@pytest.mark.parametrize(
    ("before", "no_entry_before", "held", "told_of"),
    [
        # A dated contract is news for as long before its end as it takes no entry, and a day for a position.
        (timedelta(hours=6), timedelta(hours=6), False, True),
        (timedelta(hours=6, microseconds=1), timedelta(hours=6), False, False),
        (timedelta(days=1), timedelta(hours=6), True, True),
        (timedelta(days=1, microseconds=1), timedelta(hours=6), True, False),
        (timedelta(days=2), timedelta(days=2), True, True),
        (timedelta(days=2, microseconds=1), timedelta(days=2), True, False),
    ],
)
def test_a_dated_contract_is_news_near_its_end(
    before: timedelta, no_entry_before: timedelta, *, held: bool, told_of: bool
) -> None:
    ours = replace(
        OURS,
        now=ENDS - before,
        no_entry_before_end=no_entry_before,
        held=frozenset({"ETHUSDT"}) if held else frozenset(),
    )
    dated = with_contract("ETHUSDT", status="TRADING", delivers_at=ENDS, dated=True)

    assert [(each.scope, each.alarming) for each in find_blocks(dated, ours)] == (
        [("ETHUSDT", held)] if told_of else []
    )
    # It should say nothing of one whose end nobody knows
    assert find_blocks(with_contract("ETHUSDT", status="TRADING", dated=True), ours) == []


def test_several_symbols_are_told_in_their_order_and_none_without_settings() -> None:
    names = ("XRPUSDT", "ADABTC", "SOLUSDT")
    settings = {name: SymbolSettings(leverage=20, margin_type="ISOLATED") for name in names}
    terms = replace(AS_TOLD, settings=settings, demanded_margin="CROSSED")
    ours = replace(
        OURS,
        held=frozenset(names),
        traded=frozenset({*names, "OTHER"}),
        leverages={"XRPUSDT": frozenset({10, 3, 5}), "OTHER": frozenset({1}), "SOLUSDT": frozenset({7})},
    )

    assert [(scope, code, sentence) for scope, code, sentence, _ in told(terms, ours)] == [
        ("ADABTC", Reason.SYMBOL_NOT_TRADING, "symbol=ADABTC status=unlisted"),
        ("SOLUSDT", Reason.SYMBOL_NOT_TRADING, "symbol=SOLUSDT status=unlisted"),
        ("XRPUSDT", Reason.SYMBOL_NOT_TRADING, "symbol=XRPUSDT status=unlisted"),
        ("XRPUSDT", Reason.LEVERAGE_MISMATCH, "symbol=XRPUSDT wanted=3/5/10 found=20"),
        ("SOLUSDT", Reason.LEVERAGE_MISMATCH, "symbol=SOLUSDT wanted=7 found=20"),
        ("ADABTC", Reason.MARGIN_TYPE_MISMATCH, "symbol=ADABTC wanted=CROSSED found=ISOLATED"),
        ("SOLUSDT", Reason.MARGIN_TYPE_MISMATCH, "symbol=SOLUSDT wanted=CROSSED found=ISOLATED"),
        ("XRPUSDT", Reason.MARGIN_TYPE_MISMATCH, "symbol=XRPUSDT wanted=CROSSED found=ISOLATED"),
    ]
