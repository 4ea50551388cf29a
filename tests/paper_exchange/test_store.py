"""State on disk: a killed exchange comes back with every order once, in every digit as it was."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path, PosixPath
from typing import Any

import pytest
from binance.um_futures import UMFutures

from paper_exchange.store import FORMAT, Store, StoreError
from tests.support.paper import PaperExchange


def connect(paper: PaperExchange) -> UMFutures:
    client = UMFutures(key=paper.key, secret=paper.secret, base_url=paper.url, timeout=5)
    client.session.trust_env = False
    return client


def trade(paper: PaperExchange) -> None:
    """Leave behind a bit of everything."""
    client = connect(paper)
    client.change_leverage("BTCUSDT", 50)
    client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.010")
    client.new_order(symbol="BTCUSDT", side="BUY", type="LIMIT", timeInForce="GTC", quantity="0.010", price="49000")
    amended = client.new_order(
        symbol="ETHUSDT",
        side="SELL",
        type="LIMIT",
        timeInForce="GTC",
        quantity="0.5",
        price="2550",
        newClientOrderId="m",
    )
    client.modify_order("ETHUSDT", "SELL", "0.5", "2560", orderId=amended["orderId"])
    algo = {"algoType": "CONDITIONAL", "symbol": "BTCUSDT", "side": "SELL", "type": "STOP_MARKET"}
    algo |= {"triggerPrice": "48000", "closePosition": "true", "clientAlgoId": "sl"}
    client.sign_request("POST", "/fapi/v1/algoOrder", algo)
    paper.add_account("second", "its-secret", "77")
    paper.control("POST", "funding", {"symbol": "BTCUSDT", "rate": "0.0003"})
    paper.set_price("BTCUSDT", "49000")
    paper.control("POST", "symbols", {"symbol": "SOLUSDT", "tick": "0.5000", "status": "PRE_SETTLE"})
    paper.control("POST", "portions", {"id": "kept", "symbol": "XRPUSDT", "fraction": "0.5", "count": None})
    paper.control("POST", "position", {"symbol": "XRPUSDT", "amount": "100"})
    paper.control("POST", "keys", {"key": "second", "revoked": True})


def books(paper: PaperExchange) -> Any:
    ledger = paper.ledger()
    rows = {name: ledger[name] for name in ("orders", "algo_orders", "fills", "balances")}
    summary = paper.summary()
    return rows, summary, paper.summary("second")


@pytest.mark.parametrize("moving", [False, True])
def test_killed_exchange_comes_back_where_it_was(tmp_path: Path, *, moving: bool) -> None:
    options = ("--state-file", str(tmp_path / "state"))
    with PaperExchange(*options, static_prices=not moving) as paper:
        trade(paper)
        paper.freeze()
        before = books(paper)
        os.kill(paper.pid, signal.SIGKILL)

    with PaperExchange(*options, static_prices=not moving) as paper:
        assert books(paper) == before
        client = connect(paper)
        # It should go on: ids continue, the stop still fires, settings are kept.
        order = client.new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.002")
        assert order["orderId"] > max(row["orderId"] for row in before[0]["orders"])
        assert client.symbol_configuration(symbol="BTCUSDT")[0]["leverage"] == 50
        assert client.query_order("ETHUSDT", origClientOrderId="m")["price"] == "2560.00"
        [listed] = [row for row in client.exchange_info()["symbols"] if row["symbol"] == "SOLUSDT"]
        assert (listed["status"], listed["filters"][0]["tickSize"]) == ("PRE_SETTLE", "0.5000")
        [rule] = paper.control("GET", "portions")["rules"]
        assert (rule["id"], rule["hits"]) == ("kept", 1)
        paper.set_price("BTCUSDT", "47900")
        assert client.sign_request("GET", "/fapi/v1/algoOrder", {"clientAlgoId": "sl"})["algoStatus"] == "FINISHED"


def test_clean_stop_keeps_the_state_and_an_empty_journal(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with PaperExchange("--state-file", str(path)) as paper:
        trade(paper)
        before = books(paper)
    assert (tmp_path / "state.journal").read_bytes() == b""
    with PaperExchange("--state-file", str(path)) as paper:
        assert books(paper) == before


def test_line_torn_by_a_crash_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with PaperExchange("--state-file", str(path)) as paper:
        trade(paper)
        before = books(paper)
        os.kill(paper.pid, signal.SIGKILL)
    with (tmp_path / "state.journal").open("ab") as journal:
        journal.write(b'{"t":1790000000000,"k":"call","m":"PO')
    with PaperExchange("--state-file", str(path)) as paper:
        assert books(paper) == before


def test_second_crash_loses_nothing_either(tmp_path: Path) -> None:
    options = ("--state-file", str(tmp_path / "state"))
    ids = []
    for _ in range(3):
        with PaperExchange(*options) as paper:
            order = connect(paper).new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
            ids.append(order["orderId"])
            os.kill(paper.pid, signal.SIGKILL)
    with PaperExchange(*options) as paper:
        assert [row["orderId"] for row in paper.ledger()["orders"]] == ids
        assert paper.summary()["positions"][0]["positionAmt"] == "0.003"


def test_reset_is_kept_too(tmp_path: Path) -> None:
    options = ("--state-file", str(tmp_path / "state"))
    with PaperExchange(*options) as paper:
        trade(paper)
        paper.control("POST", "clock", {"advance_ms": 10_000_000})
        paper.reset()
        connect(paper).new_order(symbol="BTCUSDT", side="BUY", type="MARKET", quantity="0.001")
        before = books_of_one(paper)
        os.kill(paper.pid, signal.SIGKILL)
    with PaperExchange(*options) as paper:
        assert books_of_one(paper) == before


def books_of_one(paper: PaperExchange) -> Any:
    ledger = paper.ledger()
    return ledger["orders"], ledger["fills"], paper.summary()


def refusal(path: Path) -> str:
    """Return what a start with this state file says when it fails."""
    found = subprocess.run(
        [sys.executable, "-m", "paper_exchange", "--port", "0", "--state-file", str(path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert found.returncode == 1
    assert "Traceback" not in found.stderr
    return found.stderr


def test_file_of_another_kind_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("not a state")
    assert "move it away to start anew" in refusal(path)
    assert path.read_text() == "not a state"


def test_second_process_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with PaperExchange("--state-file", str(path)) as paper:
        trade(paper)
        assert refusal(path) == f"{path} is in use by another process\n"
        assert (tmp_path / "state.journal").stat().st_size > 0


class Harm:
    """A pickle of this calls whatever it was made with."""

    def __init__(self, call: Any, *arguments: object) -> None:
        self._call = call
        self._arguments = arguments

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self._call, self._arguments


@pytest.mark.parametrize("call", [os.mkdir, eval, subprocess.run, Store.load, PosixPath.touch])
def test_file_of_a_stranger_runs_no_code(tmp_path: Path, call: Any) -> None:
    path, victim = tmp_path / "state", tmp_path / "harm"
    path.write_bytes(pickle.dumps((FORMAT, Harm(call, str(victim)))))
    with pytest.raises(StoreError, match="is no part of a state"):
        Store(path).load()
    assert not victim.exists()


def test_snapshot_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with PaperExchange("--state-file", str(path)):
        pass
    assert path.stat().st_mode & 0o777 == 0o600
