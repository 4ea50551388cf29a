"""Trigger rules: orders that hang in TRIGGERING, expire, are refused, or rest unfilled."""

import json
from contextlib import closing
from typing import Any

import pytest
import requests
import websocket
from binance.error import ClientError
from binance.um_futures import UMFutures

from tests.paper_exchange.modes import MODES, Mode, name_of
from tests.paper_exchange.trader import BTC
from tests.support.paper import PaperExchange, wait_until

ALGO = "/fapi/v1/algoOrder"
KINDS = ["STOP_MARKET", "TAKE_PROFIT_MARKET", "STOP", "TAKE_PROFIT", "TRAILING_STOP_MARKET"]


class Venue:
    """The exchange over HTTP with a position in one of the four modes and a protecting order."""

    def __init__(self, paper: PaperExchange, client: UMFutures, mode: Mode) -> None:
        self.paper, self.client, self.mode = paper, client, mode
        if mode.is_hedge:
            client.change_position_mode("true")
        self.order(mode.opening)

    def order(self, side: str, **terms: str) -> Any:
        side_terms = {"positionSide": self.mode.position_side} if self.mode.is_hedge else {}
        return self.client.new_order(symbol=BTC, side=side, type="MARKET", quantity="0.010", **side_terms, **terms)

    def rule(self, **terms: Any) -> Any:
        return self.paper.control("POST", "triggers", terms)

    def protect(self, kind: str = "STOP_MARKET", client_id: str = "s-1") -> int:
        terms = {"algoType": "CONDITIONAL", "symbol": BTC, "side": self.mode.closing, "type": kind}
        terms |= {"quantity": "0.010", "clientAlgoId": client_id, **self.mode.http_terms}
        if kind == "TRAILING_STOP_MARKET":
            terms |= {"callbackRate": "1"}
        else:
            terms |= {"triggerPrice": self.mode.against(1 if kind.startswith("STOP") else -1)}
        if kind in {"STOP", "TAKE_PROFIT"}:
            # Far enough to take at once when it is let go.
            terms |= {"price": self.mode.against(2)}
        return int(self.client.sign_request("POST", ALGO, terms)["algoId"])

    def reach(self, kind: str = "STOP_MARKET") -> None:
        self.paper.set_price(BTC, self.mode.against(-1 if kind.startswith("TAKE") else 1))

    def algo(self, algo_id: int) -> Any:
        return self.client.sign_request("GET", ALGO, {"algoId": algo_id})

    def open_algos(self) -> list[Any]:
        return list(self.client.sign_request("GET", "/fapi/v1/openAlgoOrders", {"symbol": BTC}))

    def cancel_code(self, algo_id: int) -> int:
        with pytest.raises(ClientError) as caught:
            self.client.sign_request("DELETE", ALGO, {"algoId": algo_id})
        return int(caught.value.error_code)

    def held(self) -> list[str]:
        return [row["positionAmt"] for row in self.client.get_position_risk() if float(row["positionAmt"])]


@pytest.fixture(params=MODES, ids=name_of)
def venue(request: pytest.FixtureRequest, paper: PaperExchange, client: UMFutures) -> Venue:
    return Venue(paper, client, request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_order_that_hangs_protects_nothing_and_cannot_be_cancelled(venue: Venue, kind: str) -> None:
    venue.rule(action="STICK", symbol=BTC)
    algo_id = venue.protect(kind)
    venue.reach(kind)

    hanging = venue.algo(algo_id)
    assert (hanging["algoStatus"], hanging["actualOrderId"]) == ("TRIGGERING", "")
    assert hanging["triggerTime"] > 0
    assert [row["algoStatus"] for row in venue.open_algos()] == ["TRIGGERING"]
    assert venue.cancel_code(algo_id) == -2011
    assert venue.client.sign_request("DELETE", "/fapi/v1/algoOpenOrders", {"symbol": BTC})["code"] == 200
    assert venue.algo(algo_id)["algoStatus"] == "TRIGGERING"
    assert len(venue.held()) == 1

    # It should go on when it is let go.
    released = venue.paper.control("POST", "triggers/release", {"order": "s-1"})
    assert [row["algoStatus"] for row in released["released"]] == ["FINISHED"]
    assert (venue.held(), venue.open_algos()) == ([], [])


@pytest.mark.parametrize("kind", KINDS)
def test_order_whose_price_is_ignored_waits_on_and_can_be_cancelled(venue: Venue, kind: str) -> None:
    venue.rule(action="IGNORE", symbol=BTC, count=2)
    algo_id = venue.protect(kind)
    venue.reach(kind)
    assert [(row["algoStatus"], row["triggerTime"]) for row in venue.open_algos()] == [("NEW", 0)]
    assert len(venue.held()) == 1
    venue.client.sign_request("DELETE", ALGO, {"algoId": algo_id})
    assert (venue.open_algos(), venue.algo(algo_id)["algoStatus"]) == ([], "CANCELED")
    assert venue.paper.control("GET", "triggers")["held"] == []


def test_order_whose_price_is_ignored_goes_on_when_it_is_let_go(venue: Venue) -> None:
    venue.rule(action="IGNORE")
    algo_id = venue.protect()
    venue.reach()
    venue.paper.control("POST", "triggers/release")
    assert (venue.algo(algo_id)["algoStatus"], venue.held()) == ("FINISHED", [])


def test_order_that_hangs_goes_on_after_its_time(venue: Venue) -> None:
    venue.rule(action="STICK", for_ms=60_000)
    algo_id = venue.protect()
    venue.reach()
    venue.paper.control("POST", "clock", {"advance_ms": 59_000})
    assert venue.algo(algo_id)["algoStatus"] == "TRIGGERING"
    venue.paper.control("POST", "clock", {"advance_ms": 2_000})
    assert venue.algo(algo_id)["algoStatus"] == "FINISHED"
    assert venue.held() == []


@pytest.mark.parametrize(
    ("release", "status", "reason"), [("EXPIRE", "EXPIRED", ""), ("REJECT", "REJECTED", "no luck")]
)
def test_order_that_hangs_may_end_without_an_order(venue: Venue, release: str, status: str, reason: str) -> None:
    venue.rule(action="STICK", release=release, reason="no luck", cancel_code=-4117)
    algo_id = venue.protect()
    venue.reach()
    assert venue.cancel_code(algo_id) == -4117
    venue.paper.control("POST", "triggers/release")
    assert venue.algo(algo_id)["algoStatus"] == status
    [row] = venue.paper.ledger()["algo_orders"]
    assert row["rejectReason"] == reason
    assert (len(venue.held()), venue.open_algos(), venue.cancel_code(algo_id)) == (1, [], -2011)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("action", "status"), [("EXPIRE", "EXPIRED"), ("REJECT", "REJECTED"), ("FINISH", "FINISHED")])
def test_order_that_ends_at_its_trigger(venue: Venue, action: str, status: str, kind: str) -> None:
    venue.rule(action=action)
    algo_id = venue.protect(kind)
    venue.reach(kind)

    ended = venue.algo(algo_id)
    assert (ended["algoStatus"], ended["actualOrderId"]) == (status, "")
    [row] = venue.paper.ledger()["algo_orders"]
    assert row["rejectReason"] == ("margin not enough" if action == "REJECT" else "")
    # It should leave no order and the position as it is; the next trigger is none of the rule's.
    assert (len(venue.held()), len(venue.paper.ledger()["orders"])) == (1, 1)
    venue.paper.set_price(BTC, "50000")
    following = venue.protect(client_id="s-2")
    venue.reach()
    assert venue.algo(following)["algoStatus"] == "FINISHED"


@pytest.mark.parametrize("kind", KINDS)
def test_triggered_order_that_rests_unfilled(venue: Venue, kind: str) -> None:
    venue.rule(action="REST")
    algo_id = venue.protect(kind)
    venue.reach(kind)

    algo = venue.algo(algo_id)
    order = venue.client.query_order(BTC, origClientOrderId="s-1")
    assert (algo["algoStatus"], algo["actualOrderId"]) == ("TRIGGERED", str(order["orderId"]))
    assert (order["status"], order["executedQty"]) == ("NEW", "0.000")
    # However far the price goes, nobody fills it.
    venue.paper.set_price(BTC, venue.mode.against(3))
    assert venue.client.query_order(BTC, origClientOrderId="s-1")["executedQty"] == "0.000"
    assert (len(venue.held()), venue.cancel_code(algo_id)) == (1, -2011)

    venue.paper.set_price(BTC, "50000")
    venue.paper.control("POST", "triggers/release")
    assert venue.client.query_order(BTC, origClientOrderId="s-1")["status"] == "FILLED"
    assert (venue.algo(algo_id)["algoStatus"], venue.held()) == ("FINISHED", [])


def test_triggered_order_that_rests_can_be_cancelled(venue: Venue) -> None:
    venue.rule(action="REST")
    algo_id = venue.protect()
    venue.reach()
    assert venue.client.cancel_order(BTC, origClientOrderId="s-1")["status"] == "CANCELED"
    assert (venue.algo(algo_id)["algoStatus"], len(venue.held())) == ("FINISHED", 1)
    # Letting it go afterwards changes nothing.
    venue.paper.control("POST", "triggers/release")
    assert venue.client.query_order(BTC, origClientOrderId="s-1")["status"] == "CANCELED"


def test_triggered_order_that_rests_may_expire(venue: Venue) -> None:
    venue.rule(action="REST", release="EXPIRE", for_ms=30_000)
    algo_id = venue.protect()
    venue.reach()
    venue.paper.control("POST", "clock", {"advance_ms": 31_000})
    wait_until(lambda: venue.algo(algo_id)["algoStatus"] == "FINISHED", what="end of the order")
    assert venue.client.query_order(BTC, origClientOrderId="s-1")["status"] == "EXPIRED"


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("STICK", ["TRIGGERING"]),
        ("EXPIRE", ["TRIGGERING", "EXPIRED"]),
        ("REJECT", ["TRIGGERING", "REJECTED"]),
        ("FINISH", ["TRIGGERING", "FINISHED"]),
        ("REST", ["TRIGGERING", "order NEW", "TRIGGERED"]),
    ],
)
def test_user_stream_tells_of_it(venue: Venue, action: str, told: list[str]) -> None:
    venue.rule(action=action, reason="no luck")
    venue.protect()
    url = f"{venue.paper.stream_url}/private/ws?listenKey={venue.client.new_listen_key()['listenKey']}"
    with closing(websocket.create_connection(url, timeout=5, http_no_proxy=["*"])) as stream:
        venue.reach()
        # The answer to this comes after whatever the trigger has caused.
        stream.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 1}))
        heard = []
        while "result" not in (event := json.loads(stream.recv())):
            heard.append(event)
    words = {"ALGO_UPDATE": "", "ORDER_TRADE_UPDATE": "order "}
    assert [words[event["e"]] + event["o"]["X"] for event in heard] == told
    assert heard[-1]["o"].get("rm") == ("no luck" if action == "REJECT" else None)


def test_rule_chooses_its_orders(paper: PaperExchange, client: UMFutures) -> None:
    venue = Venue(paper, client, MODES[0])
    rule = venue.rule(action="EXPIRE", order="s-2", count=None)
    other, meant = venue.protect(client_id="s-1"), venue.protect(client_id="s-2")
    venue.reach()
    assert (venue.algo(other)["algoStatus"], venue.algo(meant)["algoStatus"]) == ("FINISHED", "EXPIRED")
    listed = paper.control("GET", "triggers")
    assert [(row["id"], row["hits"], row["count"]) for row in listed["rules"]] == [(rule["id"], 1, None)]
    assert paper.control("DELETE", "triggers") == {"removed": 1}
    assert paper.control("GET", "triggers") == {"rules": [], "held": []}


def test_lists_may_leave_out_what_hangs(paper: PaperExchange, client: UMFutures) -> None:
    paper.control("POST", "assumptions", {"stuck_listed": False})
    venue = Venue(paper, client, MODES[0])
    venue.rule(action="STICK")
    algo_id = venue.protect()
    venue.reach()
    assert (venue.open_algos(), venue.algo(algo_id)["algoStatus"]) == ([], "TRIGGERING")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"action": "NAP"},
        {"action": "STICK", "for_ms": 0},
        {"action": "EXPIRE", "for_ms": 1000},
        {"action": "STICK", "release": "SOON"},
        {"action": "STICK", "count": 0},
        {"action": "STICK", "cancel_code": -1},
        {"action": "STICK", "symbol": 7},
    ],
)
def test_rule_that_makes_no_sense(paper: PaperExchange, body: dict[str, Any]) -> None:
    answer = requests.post(f"{paper.url}/paper/triggers", json=body, timeout=5, proxies={"http": ""})
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert paper.control("GET", "triggers")["rules"] == []
