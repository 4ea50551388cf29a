"""The switches: what the documents leave open is a choice, at the start and while the exchange runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import requests
from binance.um_futures import UMFutures

from paper_exchange.__main__ import config_of, parser
from paper_exchange.core.assumptions import Assumptions
from tests.support.paper import PaperExchange


def test_control_call_sets_some_and_answers_all(paper: PaperExchange) -> None:
    assert paper.control("GET", "assumptions") == asdict(Assumptions())
    answer = paper.control("POST", "assumptions", {"reducing": "trim", "stuck_listed": False})
    assert answer == asdict(Assumptions(reducing="trim", stuck_listed=False))
    paper.reset()
    assert paper.control("GET", "assumptions") == asdict(Assumptions())


@pytest.mark.parametrize(
    "body", [{"humour": True}, {"reducing": "maybe"}, {"reducing": True}, {"stuck_listed": "now"}, {"stuck_listed": 1}]
)
def test_switch_that_does_not_exist(paper: PaperExchange, body: dict[str, Any]) -> None:
    # Nothing is set of a call that has one wrong word.
    answer = requests.post(
        f"{paper.url}/paper/assumptions", json={"credits_listed": False, **body}, timeout=5, proxies={"http": ""}
    )
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert paper.control("GET", "assumptions") == asdict(Assumptions())


def test_command_line() -> None:
    words = ["--assume", "reducing=refuse_4118", "--assume", "reducing_at_trigger=true"]
    config = config_of(parser().parse_args(words))
    assert config.assumptions == Assumptions(reducing="refuse_4118", reducing_at_trigger=True)


@pytest.mark.parametrize("word", ["reducing", "reducing=no", "nothing=true", "stuck_listed=2"])
def test_command_line_refuses_what_is_not_there(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["--assume", word])
    assert "argument --assume" in capsys.readouterr().err


def test_switches_and_held_triggers_survive_a_restart(tmp_path: Path) -> None:
    stop = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
    stop |= {"quantity": "0.010", "triggerPrice": "49500", "clientAlgoId": "s-1"}
    with PaperExchange("--state-file", str(tmp_path / "state")) as paper:
        client = paper_client(paper)
        paper.control("POST", "assumptions", {"reducing": "trim"})
        paper.control("POST", "triggers", {"action": "STICK"})
        client.sign_request("POST", "/fapi/v1/algoOrder", dict(stop))
        paper.set_price("BTCUSDT", "49500")
        paper.kill()
        paper.start()
        assert paper.control("GET", "assumptions")["reducing"] == "trim"
        assert [row["clientAlgoId"] for row in paper.control("GET", "triggers")["held"]] == ["s-1"]
        paper.control("POST", "triggers/release")
        answer = paper_client(paper).sign_request("GET", "/fapi/v1/algoOrder", {"clientAlgoId": "s-1"})
        assert answer["algoStatus"] == "FINISHED"


def paper_client(paper: PaperExchange) -> UMFutures:
    found = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=5)
    found.session.trust_env = False
    return found
