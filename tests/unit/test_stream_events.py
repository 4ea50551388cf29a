"""Reading the user-data stream: each documented event, and everything that is not one."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from execution.adapters.binance.stream import user_stream_path
from execution.adapters.binance.stream_events import READERS, ignored_news, read_event
from execution.domain.outcomes import ExchangeStatus, FillReport, OrderReport
from execution.domain.stream import (
    AccountNews,
    AlgoNews,
    HandOn,
    HeldAmount,
    Ignored,
    KeyExpired,
    MarginCall,
    OrderNews,
    SettingNews,
    Unread,
)

AT = 1790000000601
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=20,
)


ORDER = """{"s": "BTCUSDT", "c": "es1-e", "S": "BUY", "o": "LIMIT", "f": "GTC", "q": "0.010", "p": "61250",
 "ap": "61249.8", "sp": "0", "x": "TRADE", "X": "FILLED", "i": 839112004417, "l": "0.010", "z": "0.010",
 "L": "61249.8", "n": "0.306249", "N": "USDT", "T": 1790000000600, "t": 6612345678, "b": "0", "a": "0", "m": false,
 "R": false, "wt": "CONTRACT_PRICE", "ot": "LIMIT", "ps": "BOTH", "cp": false, "rp": "0", "pP": false, "si": 0,
 "ss": 0, "V": "EXPIRE_MAKER", "pm": "NONE", "gtd": 0, "er": "0"}"""
ALGO = """{"caid": "es1-s", "aid": 2000000547321628, "at": "CONDITIONAL", "o": "STOP_MARKET", "s": "BTCUSDT",
 "S": "SELL", "ps": "BOTH", "f": "GTC", "q": "0.005", "X": "NEW", "ai": "", "tp": "60500", "p": "0"}"""


def order(**fields: Any) -> dict[str, Any]:
    """An ORDER_TRADE_UPDATE as the documents show it: a LIMIT buy, filled."""
    return {"e": "ORDER_TRADE_UPDATE", "T": AT - 1, "E": AT, "o": json.loads(ORDER) | fields}


def algo(**fields: Any) -> dict[str, Any]:
    """An ALGO_UPDATE of a stop that waits."""
    return {"e": "ALGO_UPDATE", "T": AT - 1, "E": AT, "o": json.loads(ALGO) | fields}


def read(event: object) -> Any:
    return read_event(json.dumps(event))


def test_a_filled_order() -> None:
    news = read(order())

    assert isinstance(news, OrderNews)
    assert news.report is not None
    assert (news.symbol, news.buyer, news.position_side) == ("BTCUSDT", True, "BOTH")
    assert (news.client_order_id, news.fill_id, news.algo_id) == ("es1-e", 6612345678, "")
    assert (news.report.status, news.report.executed_quantity) == (ExchangeStatus.FILLED, Decimal("0.010"))
    assert news.report.order_id == "839112004417"
    assert news.sent_at == datetime.fromtimestamp(AT / 1000, tz=UTC)


def test_an_order_that_a_trigger_has_made_is_the_conditional_one_in_its_next_state() -> None:
    news = read(order(X="NEW", x="NEW", z="0", t=0, si=2000000547321628, ss=-1, st="ALGO_CONDITION"))

    assert isinstance(news, OrderNews)
    assert news.report is not None
    assert (news.report.status, news.report.algo_id) == (ExchangeStatus.TRIGGERED, "2000000547321628")
    assert news.fill_id == 0


@pytest.mark.parametrize(
    ("fields", "status", "executed", "order_id"),
    [
        ({}, ExchangeStatus.NEW, "0", ""),
        ({"X": "TRIGGERING"}, ExchangeStatus.TRIGGERED, "0", ""),
        ({"X": "TRIGGERED", "ai": "839112009001", "aq": "0"}, ExchangeStatus.TRIGGERED, "0", "839112009001"),
        ({"X": "FINISHED", "ai": "8", "aq": "0.005"}, ExchangeStatus.FILLED, "0.005", "8"),
        ({"X": "FINISHED", "ai": "8", "aq": "0"}, ExchangeStatus.CANCELED, "0", "8"),
        ({"X": "CANCELED"}, ExchangeStatus.CANCELED, "0", ""),
        ({"X": "EXPIRED"}, ExchangeStatus.EXPIRED, "0", ""),
        ({"X": "REJECTED", "rm": "Reduce Only reject"}, ExchangeStatus.REJECTED, "0", ""),
    ],
)
def test_a_conditional_order_by_status(
    fields: dict[str, Any], status: ExchangeStatus, executed: str, order_id: str
) -> None:
    news = read(algo(**fields))

    assert isinstance(news, AlgoNews)
    assert (news.report.status, news.report.executed_quantity) == (status, Decimal(executed))
    assert (news.report.order_id, news.reason) == (order_id, fields.get("rm", ""))


def test_the_other_kinds() -> None:
    held = {"s": "BTCUSDT", "pa": "-0.010", "ep": "1", "ps": "BOTH"}
    account = read({"e": "ACCOUNT_UPDATE", "T": AT, "E": AT, "a": {"m": "ORDER", "B": [], "P": [held]}})
    assert isinstance(account, AccountNews)
    assert (account.reason, account.held[0].quantity) == ("ORDER", Decimal("-0.010"))

    leverage = read({"e": "ACCOUNT_CONFIG_UPDATE", "E": AT, "T": AT, "ac": {"s": "BTCUSDT", "l": 25}})
    assert leverage == SettingNews(
        kind="ACCOUNT_CONFIG_UPDATE", sent_at=leverage.sent_at, symbol="BTCUSDT", leverage=25
    )
    assets = read({"e": "ACCOUNT_CONFIG_UPDATE", "E": AT, "T": AT, "ai": {"j": True}})
    assert (assets.symbol, assets.leverage) == ("", 0)

    call = read({"e": "MARGIN_CALL", "E": AT, "cw": "3.1", "p": [{"s": "ETHUSDT", "ps": "LONG"}, {"s": "BTCUSDT"}]})
    assert isinstance(call, MarginCall)
    assert call.symbols == ("BTCUSDT", "ETHUSDT")
    expired = read({"e": "listenKeyExpired", "E": AT, "listenKey": "abc"})
    assert isinstance(expired, KeyExpired)
    assert expired.key == "abc"
    assert isinstance(read({"e": "CONDITIONAL_ORDER_TRIGGER_REJECT", "E": AT, "or": {}}), HandOn)
    for kind in ("TRADE_LITE", "STRATEGY_UPDATE", "GRID_UPDATE"):
        assert isinstance(read({"e": kind, "E": AT}), Ignored)


def test_a_wrapped_event_is_the_event() -> None:
    assert read({"stream": "key", "data": order()}) == read(order())


def test_an_order_of_the_exchange_itself_is_read_without_its_status() -> None:
    """A liquidation may carry words that are not ours; that it closes a position is what counts."""
    news = read(order(c="autoclose-1790000000000", X="NEW_INSURANCE", x="CALCULATED", S="SELL"))

    assert isinstance(news, OrderNews)
    assert (news.report, news.fill_id, news.buyer) == (None, 6612345678, False)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "not JSON"),
        ("\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "not JSON"),
        ('{"result": null, "id": 1}', "no kind"),
        ('{"e": "NEW_KIND_OF_2027", "E": 1}', "NEW_KIND_OF_2027"),
        (json.dumps(order(X="HALF_FILLED")), "ORDER_TRADE_UPDATE"),
        (json.dumps(order(z="NaN")), "ORDER_TRADE_UPDATE"),
        (json.dumps(order(z="-0.001")), "ORDER_TRADE_UPDATE"),
        (json.dumps(order() | {"o": []}), "ORDER_TRADE_UPDATE"),
        (json.dumps(order() | {"E": 10**30}), "ORDER_TRADE_UPDATE"),
        (json.dumps(algo(X="WAITING")), "ALGO_UPDATE"),
    ],
)
def test_what_cannot_be_read_is_news_of_its_own(text: str, kind: str) -> None:
    news = read_event(text)

    assert isinstance(news, Unread)
    assert news.kind == kind
    assert news.why


@given(kind=st.sampled_from(sorted(READERS)), body=st.dictionaries(st.sampled_from("EoaTacip"), JSON))
def test_no_event_raises(kind: str, body: dict[str, Any]) -> None:
    read_event(json.dumps({"e": kind, **body}))


@given(st.binary(max_size=200))
def test_no_bytes_raise(raw: bytes) -> None:
    read_event(raw)


# Every field of every event

SENT = datetime.fromtimestamp(AT / 1000, tz=UTC)


def test_every_field_of_an_order() -> None:
    news = read(order(S="SELL", ps="SHORT", X="PARTIALLY_FILLED", z="0.004"))

    assert news == OrderNews(
        kind="ORDER_TRADE_UPDATE",
        sent_at=SENT,
        client_order_id="es1-e",
        symbol="BTCUSDT",
        buyer=False,
        position_side="SHORT",
        report=OrderReport(
            client_order_id="es1-e",
            symbol="BTCUSDT",
            status=ExchangeStatus.PARTIALLY_FILLED,
            quantity=Decimal("0.010"),
            executed_quantity=Decimal("0.004"),
            order_id="839112004417",
        ),
        fill_id=6612345678,
        algo_id="",
        fill=FillReport(
            trade_id=6612345678,
            order_id="839112004417",
            symbol="BTCUSDT",
            buyer=False,
            position_side="SHORT",
            price=Decimal("61249.8"),
            quantity=Decimal("0.010"),
            realized_pnl=Decimal(0),
            commission=Decimal("0.306249"),
            commission_asset="USDT",
            maker=False,
            at=datetime.fromtimestamp(1790000000.6, tz=UTC),
        ),
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"x": "NEW", "X": "NEW", "t": 0, "l": "0", "L": "0"},
        {"N": None, "n": None},
        {"N": ""},
        {"l": "-0.010"},
        {"L": "NaN"},
        {"rp": "much"},
        {"T": "soon"},
        {"t": "first"},
    ],
)
def test_a_fill_that_is_not_told_whole_is_left_to_the_list_of_fills(fields: dict[str, Any]) -> None:
    if fields.get("t") == "first":
        # Its number is read for the witness of the stream, too.
        assert isinstance(read(order(**fields)), Unread)
        return
    news = read(order(**fields))

    assert isinstance(news, OrderNews)
    assert news.fill is None
    # It should still tell what became of the order.
    assert news.report is not None


@pytest.mark.parametrize("name", ["L", "l", "rp", "n", "N", "m", "T"])
def test_a_fill_with_a_field_missing_is_not_told_whole(name: str) -> None:
    event = order()
    del event["o"][name]

    assert read(event).fill is None


def test_when_an_order_was_made_is_told_with_its_first_word() -> None:
    made = datetime.fromtimestamp((AT - 1) / 1000, tz=UTC)

    assert read(order(X="NEW")).report.created_at == datetime.fromtimestamp(1790000000600 / 1000, tz=UTC)
    assert read(order(X="NEW", T=0)).report.created_at is None
    # It should be none of an order that a trigger has made, nor of a later word
    assert read(order(X="NEW", si=7)).report.created_at is None
    assert read(order(X="CANCELED")).report.created_at is None
    assert read(algo()).report.created_at == made
    assert read(algo(X="TRIGGERING")).report.created_at is None
    assert read(algo() | {"T": 0}).report.created_at is None


def test_every_field_of_a_conditional_order() -> None:
    assert read(algo(X="TRIGGERED", ai=8, aq="0.002", rm="why")) == AlgoNews(
        kind="ALGO_UPDATE",
        sent_at=SENT,
        report=OrderReport(
            client_order_id="es1-s",
            symbol="BTCUSDT",
            status=ExchangeStatus.TRIGGERED,
            quantity=Decimal("0.005"),
            executed_quantity=Decimal("0.002"),
            order_id="8",
            algo_id="2000000547321628",
        ),
        reason="why",
    )
    # It should be read without its quantity too
    assert read(algo(q=None)).report.quantity == 0
    assert read(algo(q="")).report.quantity == 0


def test_every_field_of_the_other_kinds() -> None:
    held = [{"s": "BTCUSDT", "pa": "-0.010", "ps": "BOTH"}, {"s": "ETHUSDT", "pa": "2", "ps": "LONG"}]
    assert read({"e": "ACCOUNT_UPDATE", "E": AT, "a": {"m": "ORDER", "P": held}}) == AccountNews(
        kind="ACCOUNT_UPDATE",
        sent_at=SENT,
        reason="ORDER",
        held=(
            HeldAmount(symbol="BTCUSDT", position_side="BOTH", quantity=Decimal("-0.010")),
            HeldAmount(symbol="ETHUSDT", position_side="LONG", quantity=Decimal(2)),
        ),
    )
    empty: list[dict[str, Any]] = [{}, {"P": None}, {"P": []}]
    for nothing in empty:
        assert read({"e": "ACCOUNT_UPDATE", "E": AT, "a": nothing}) == AccountNews(
            kind="ACCOUNT_UPDATE", sent_at=SENT, reason="", held=()
        )
    kind = "ACCOUNT_CONFIG_UPDATE"
    assert read({"e": kind, "E": AT, "ac": {"s": "BTCUSDT", "l": "25"}}) == SettingNews(
        kind=kind, sent_at=SENT, symbol="BTCUSDT", leverage=25
    )
    assert read({"e": kind, "E": AT}) == SettingNews(kind=kind, sent_at=SENT, symbol="", leverage=0)
    call = {"e": "MARGIN_CALL", "E": AT, "p": [{"s": "B"}, {"s": "A"}, {"s": "B"}]}
    assert read(call) == MarginCall(kind="MARGIN_CALL", sent_at=SENT, symbols=("A", "B"))
    assert read({"e": "MARGIN_CALL", "E": AT}) == MarginCall(kind="MARGIN_CALL", sent_at=SENT, symbols=())
    assert read({"e": "listenKeyExpired", "E": AT, "listenKey": "abc"}) == KeyExpired(
        kind="listenKeyExpired", sent_at=SENT, key="abc"
    )
    assert read({"e": "listenKeyExpired", "E": AT}).key == ""
    kind = "CONDITIONAL_ORDER_TRIGGER_REJECT"
    assert read({"e": kind, "E": AT}) == HandOn(kind=kind, sent_at=SENT)
    for kind in ("TRADE_LITE", "STRATEGY_UPDATE", "GRID_UPDATE"):
        assert read({"e": kind, "E": AT}) == Ignored(kind=kind, sent_at=SENT)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity", "sNaN", "x", None])
def test_an_amount_that_is_no_number_makes_an_event_unreadable(amount: str | None) -> None:
    held = [{"s": "BTCUSDT", "pa": amount, "ps": "BOTH"}]

    assert isinstance(read({"e": "ACCOUNT_UPDATE", "E": AT, "a": {"P": held}}), Unread)
    assert isinstance(read(order(q=amount)), Unread)
    assert isinstance(read(algo(X="TRIGGERED", aq=amount or "NaN")), Unread)


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        ("[]", "not JSON", "a list"),
        ("7", "not JSON", "a int"),
        ("{", "not JSON", "JSONDecodeError"),
        ('{"e": "NEWS"}', "NEWS", "unknown kind"),
        ("{}", "no kind", "unknown kind"),
        (json.dumps({"e": "K" * 50}), "K" * 40, "unknown kind"),
        (json.dumps(order(X="HALF")), "ORDER_TRADE_UPDATE", "ValueError('status HALF')"),
        (json.dumps(order(z="-1")), "ORDER_TRADE_UPDATE", "ValueError('quantity -1')"),
        (json.dumps(order(z="NaN")), "ORDER_TRADE_UPDATE", "ValueError('amount NaN')"),
    ],
)
def test_what_cannot_be_read_says_why(text: str, kind: str, why: str) -> None:
    assert read_event(text) == Unread(kind=kind, why=why)


@pytest.mark.parametrize("status", ["PARTIALLY_FILLED", "FILLED", "CANCELED", "EXPIRED"])
def test_a_triggered_order_keeps_every_later_status(status: str) -> None:
    news = read(order(X=status, si=7, t=None))

    assert (news.report.status, news.algo_id, news.report.algo_id, news.fill_id) == (status, "7", "7", 0)
    assert read(algo(ai=None)).report.order_id == ""


def test_the_stream_is_asked_by_query_for_all_that_is_read() -> None:
    path = user_stream_path("k" * 64)

    address, _, query = path.partition("?")
    named = parse_qs(query)
    # It should not name the key in the path, where production is reported to say nothing.
    assert address == "/private/ws"
    assert named["listenKey"] == ["k" * 64]
    # It should name each event that changes something, and none that repeats another.
    events = named["events"][0].split("/")
    assert set(events) == {kind for kind, reader in READERS.items() if reader is not ignored_news}
    assert "TRADE_LITE" not in events
