"""Attacks by what comes in: values that cannot be stored or read, poison entries, stored rows that cannot be used."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any

import psycopg
import pytest

from local_stack.bus import stream_key, wrapped
from tests.security import aftermath
from tests.security.aftermath import Api, HeldPosition, entries_of, trade, trading_goes_on
from tests.support.decisions import decision
from tests.support.ledger import Ledger
from tests.support.stack import AI, CeleryStack
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]

WITHIN = 30.0
reason_of = partial(aftermath.reason_of, within=WITHIN)
ORDER = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.010", "leverage": 5}
BEFORE_THE_FIRST_YEAR = "0001-01-01T00:00:00+14:00"
IMPOSSIBLE_TIMES = [BEFORE_THE_FIRST_YEAR, "9999-12-31T23:59:59-14:00", 1e18, "1_765_855_800"]
# What Python reads as numbers and letters, and nobody means: field of an order, value.
FOREIGN = [("quantity", "1_000"), ("quantity", "\u0661"), ("stop_loss", "\uff15"), ("symbol", "btcu\u017fdt")]


def add(stack: CeleryStack, event_type: str, body: str | Mapping[str, Any]) -> str:
    """Put an event on its stream, as JSON text or as a payload; return its entry's id."""
    fields = wrapped(event_type, {}, source="attack") | {
        "payload": body if isinstance(body, str) else json.dumps(dict(body))
    }
    return str(stack.redis.xadd(stream_key(event_type), fields).decode())  # type: ignore[union-attr]


def test_a_time_that_cannot_be_read_back_is_refused(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    """Fault 1: one such order stopped monitor, protector and start-up for good."""
    before = entries_of(stack, "BTCUSDT")
    for moment in IMPOSSIBLE_TIMES:
        answer = api.order(ORDER | {"timestamp": moment})
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["timestamp"]), moment
        letter = add(stack, AI, decision("BTCUSDT", timestamp=moment))
        assert reason_of(stack, letter) == "INVALID_FIELD", moment
        letter = add(stack, "signal.execute", ORDER | {"timestamp": moment})
        assert reason_of(stack, letter) == "INVALID_FIELD", moment

    assert entries_of(stack, "BTCUSDT") == before
    trading_goes_on(stack, held)


def test_a_stored_row_that_cannot_be_read_fails_alone(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    """Fault 1, the second door: rows of another hand, such as a restored dump."""
    planted = stack.rows(
        "UPDATE execution_trade SET entry_at = '0001-01-01 00:00:00+14', updated_at = '-infinity' "
        "WHERE symbol = %s AND state <> 'CLOSED' RETURNING id::text",
        held.symbol,
    )
    assert len(planted) == 1

    def is_named() -> bool:
        reasons = api.call("GET", "/health").json()["reasons"]
        return any(reason.startswith("rows: quarantined: trade ") for reason in reasons)

    eventually(is_named, within=WITHIN, what="health names the row", every=0.5)
    assert 'execution_quarantined_rows{table="trade"} 1.0' in api.call("GET", "/metrics").text
    for path in ("/api/execution/trades", "/api/execution/positions", f"/api/execution/trades/{planted[0][0]}"):
        assert api.call("GET", path).status_code == 200, path
    trade(stack, "BTCUSDT")
    assert held.is_protected(stack)

    # An operator should find and repair it by command
    line = next(line for line in stack.manage("quarantine").splitlines() if " trade " in line)
    for column in ("entry_at", "updated_at"):
        stack.manage("quarantine", line.split()[0], "--set", f"{column}=2026-01-01T00:00:00Z", "--reason", "restored")
    assert "0 quarantined" in stack.manage("quarantine")
    trading_goes_on(stack, held)


def test_a_poison_entry_fails_alone(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    """Fault 2: it took valid decisions of its batch with it, silently, and came again without end."""
    poison = ['{"symbol":"BTCUSDT","side":"buy","quantity":"0.01","metadata":{"x":1e400}}', "{", "[" * 60_000]
    letters = [add(stack, "signal.execute", body) for body in poison]
    stack.decide(["BTCUSDT", "XRPUSDT"])
    letters += [add(stack, AI, body) for body in poison]
    stack.decide(["BNBUSDT"])

    assert {reason_of(stack, letter) for letter in letters} == {"MALFORMED_PAYLOAD"}

    def all_traded() -> bool:
        return {"BTCUSDT", "XRPUSDT", "BNBUSDT"} <= set(Ledger.of(stack.paper).positions)

    eventually(all_traded, within=WITHIN, what="the valid decisions beside it are traded", every=0.1)
    # It should leave nothing behind that would come again
    lags = api.call("GET", "/health").json()["consumer_lag_by_stream"]
    assert (lags[AI], lags["signal.execute"]) == (0, 0)
    trading_goes_on(stack, held, restart=False)


def test_what_the_database_does_not_take_is_a_dead_letter(stack: CeleryStack, held: HeldPosition) -> None:
    """Fault 2, behind the edge: whatever it lets pass, a data error is the outcome of its own entry."""
    constraint = (
        "ALTER TABLE execution_inboxevent ADD CONSTRAINT planted CHECK (payload->>'model' <> 'poison') NOT VALID"
    )
    run(stack, constraint)
    try:
        letter = add(stack, AI, decision("BTCUSDT", model="poison"))
        stack.decide(["XRPUSDT"])
        assert reason_of(stack, letter) == "UNSTORABLE"
        eventually(lambda: "XRPUSDT" in Ledger.of(stack.paper).positions, within=WITHIN, what="the other is traded")
    finally:
        run(stack, "ALTER TABLE execution_inboxevent DROP CONSTRAINT planted")
    trading_goes_on(stack, held, restart=False)


def run(stack: CeleryStack, statement: str) -> None:
    with stack.cursor() as cursor:
        cursor.execute(statement)


def test_foreign_digits_and_letters_are_refused(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    """Fault 13."""
    before = Ledger.of(stack.paper).entries
    for field, value in FOREIGN:
        answer = api.order(ORDER | {field: value})
        assert (answer.status_code, list(answer.json()["errors"])) == (400, [field]), (field, value)
        assert reason_of(stack, add(stack, "signal.execute", ORDER | {field: value})) == "INVALID_FIELD"
    for query in ("trades?limit=1_0", "trades?offset=%D9%A1", "events?after=%EF%BC%91", "events?trade_id=1_0"):
        assert api.call("GET", f"/api/execution/{query}").status_code == 400, query

    assert Ledger.of(stack.paper).entries == before
    trading_goes_on(stack, held, restart=False)


def test_empty_and_blank_words_are_refused(stack: CeleryStack, api: Api, held: HeldPosition) -> None:
    """Fault 25: what the schema says of them."""
    switches = stack.rows("SELECT count(*) FROM execution_killswitch")
    for query in ("events?trade_id=", "trades?to=", "trades?from=", "trades?limit=", "events?after="):
        assert api.call("GET", f"/api/execution/{query}").status_code == 400, query
    for reason in ("", "  ", "\u2003", 5, None, True, "a\x1b[2J", "x" * 501):
        answer = api.call("POST", "/api/execution/kill-switch", json={"level": "entries", "reason": reason})
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["reason"]), reason
    [(trade_id,)] = stack.rows("SELECT id::text FROM execution_trade WHERE symbol = %s AND state = 'OPEN'", held.symbol)
    for callback in (0, 0.05, 20.1, "1_0", "NaN", True):
        moved = {"trailing": {"callback_percent": callback}, "reason": "x"}
        answer = api.call("PATCH", f"/api/execution/trades/{trade_id}/protection", json=moved)
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["trailing.callback_percent"]), callback

    assert stack.rows("SELECT count(*) FROM execution_killswitch") == switches
    trading_goes_on(stack, held, restart=False)


def test_a_guessed_identity_is_reported(stack: CeleryStack, held: HeldPosition) -> None:
    """Fault 26: whoever sends first under a guessed id does not swallow the real decision in silence."""
    real = decision("BTCUSDT")
    add(stack, AI, decision("BTCUSDT", "hold") | {"event_id": real["event_id"]})
    letter = add(stack, AI, real)

    assert reason_of(stack, letter) == "IDENTITY_REUSED"
    query = "SELECT payload->>'reason_code' FROM execution_outboxevent WHERE aggregate = %s"
    assert stack.rows(query, f"entry:{letter}") == [("IDENTITY_REUSED",)]
    trading_goes_on(stack, held, restart=False)


def test_no_column_takes_nan(stack: CeleryStack, held: HeldPosition) -> None:
    """Fault 1, a sibling: a number that fails every calculation."""
    with pytest.raises(psycopg.errors.CheckViolation):
        run(stack, "UPDATE execution_trade SET quantity = 'NaN' WHERE state = 'OPEN'")
    trading_goes_on(stack, held, restart=False)
