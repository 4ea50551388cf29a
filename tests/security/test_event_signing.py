"""Attacks on a bus whose events are signed: forged, altered, moved, old and copied entries, and stops of nobody.

The same by the piece, for every stream: `tests/integration/test_signed_events.py`.
"""

import json
import time
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from local_stack.bus import stream_key, wrapped
from local_stack.processes import Addresses, web
from local_stack.server import free_port
from tests.security import aftermath
from tests.security.aftermath import Api, HeldPosition, entries_of, hold_position, trading_goes_on
from tests.security.producers import PRODUCER, producer_keys, signed, signing_as
from tests.support.databases import copied_database, redis_address
from tests.support.decisions import decision
from tests.support.stack import AI, SHORT, CeleryStack, crew
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
WITHIN = 45.0
reason_of = partial(aftermath.reason_of, within=WITHIN)
HOST = "127.0.0.1"
# Apart from the numbers of the other suites.
REDIS_DATABASE = 4
SECRET, NEXT_SECRET = "the-secret-of-the-ai-engine-0123456789", "the-next-secret-of-the-ai-engine-456789"
OTHER_SECRET = "the-secret-of-another-producer-0123456789"
TRIP, SIGNAL, POLICY = "ess.tripped", "signal.execute", "policy.updated"
KEYS = producer_keys(
    SECRET,
    further={
        "ai-2": {"producer": PRODUCER, "secret": NEXT_SECRET, "streams": [AI]},
        "other-1": {"producer": "other", "secret": OTHER_SECRET, "streams": [AI]},
    },
)


@pytest.fixture(scope="module")
def signing_stack(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,  # noqa: ARG001 -- makes the migrated database
) -> Iterator[CeleryStack]:
    folder, redis_url = tmp_path_factory.mktemp("signing"), redis_address(REDIS_DATABASE)
    with copied_database("signing") as database_url:
        server = web(
            Addresses(host=HOST, web_port=free_port(), flower_port=0, database_url=database_url, redis_url=redis_url)
        )
        with CeleryStack(
            database_url=database_url,
            redis_url=redis_url,
            folder=folder,
            programs=[*crew(folder), server],
            settings={**SHORT, "EVENT_SIGNING_KEYS": KEYS, "ESS_TRIP_ACTION": "flatten", "ESS_TRIP_HOLD_SECONDS": "3"},
            seal=signing_as(SECRET),
        ) as stack:
            yield stack


@pytest.fixture
def stack(signing_stack: CeleryStack) -> CeleryStack:
    """The running service, flat."""
    signing_stack.start_workers()
    signing_stack.close_everything_by_hand()
    Api.of(signing_stack).await_answer()
    return signing_stack


def put(stack: CeleryStack, event_type: str, fields: Mapping[Any, Any]) -> str:
    entry_id: Any = stack.redis.xadd(stream_key(event_type), dict[Any, Any](fields))
    return str(entry_id.decode())


def entry(event_type: str, payload: Mapping[str, Any], secret: str = SECRET, **how: Any) -> dict[str, str]:
    return signed(stream_key(event_type), wrapped(event_type, payload, source="attack"), secret, **how)


def test_only_what_a_producer_has_signed_is_executed(stack: CeleryStack, held: HeldPosition) -> None:
    before = entries_of(stack, "BTCUSDT")
    true = entry(AI, decision("BTCUSDT"))
    order = {"symbol": "BTCUSDT", "side": "buy", "quantity": "0.010", "leverage": 5}
    attacks: list[tuple[str, str, Mapping[Any, Any]]] = [
        ("SIGNATURE_MISSING", AI, wrapped(AI, decision("BTCUSDT"), source="ai-engine")),
        ("SIGNATURE_MISSING", SIGNAL, wrapped(SIGNAL, order, source="attack")),
        ("SIGNATURE_MISSING", POLICY, wrapped(POLICY, {"key": "risk.max_positions", "new_value": 0}, source="attack")),
        ("SIGNATURE_INVALID", AI, true | {"payload": true["payload"].replace("500.0", "90000.0")}),
        ("SIGNATURE_INVALID", AI, true | {"data": json.dumps(order)}),
        ("SIGNATURE_INVALID", SIGNAL, true),
        ("SIGNATURE_KEY_UNKNOWN", AI, entry(AI, decision("BTCUSDT"), key_id="nobody")),
        ("SIGNATURE_STREAM_NOT_ALLOWED", SIGNAL, entry(SIGNAL, order)),
        ("SIGNATURE_EXPIRED", AI, entry(AI, decision("BTCUSDT"), at_ms=int(time.time() * 1000) - 301_000)),
        ("SIGNATURE_EXPIRED", AI, entry(AI, decision("BTCUSDT"), at_ms=int(time.time() * 1000) + 120_000)),
    ]

    found = [(reason_of(stack, put(stack, event_type, fields)), event_type) for _, event_type, fields in attacks]

    assert found == [(code, event_type) for code, event_type, _ in attacks]
    assert entries_of(stack, "BTCUSDT") == before
    assert stack.rows("SELECT count(*) FROM execution_policyvalue WHERE source = 'event'") == [(0,)]
    trading_goes_on(stack, held)


def test_a_copied_entry_is_executed_once(stack: CeleryStack) -> None:
    before, fields = entries_of(stack, "BTCUSDT"), entry(AI, decision("BTCUSDT"))
    put(stack, AI, fields)
    eventually(lambda: entries_of(stack, "BTCUSDT") > before, within=WITHIN, what="the decision is executed")
    stack.close_everything_by_hand()

    copies = [put(stack, AI, fields) for _ in range(3)]

    assert [reason_of(stack, copy) for copy in copies] == ["SIGNATURE_REPLAYED"] * 3
    assert entries_of(stack, "BTCUSDT") == before + 1
    trading_goes_on(stack, hold_position(stack), restart=False)


def test_a_guessed_identity_does_not_take_the_real_one(stack: CeleryStack, held: HeldPosition) -> None:
    """Fault 26, once signing is on: the real decision is executed, under either key of its producer."""
    before, real = entries_of(stack, "BTCUSDT"), decision("BTCUSDT")
    guess = decision("BTCUSDT", "hold") | {"event_id": real["event_id"]}
    put(stack, AI, wrapped(AI, guess, source="attack"))
    put(stack, AI, entry(AI, guess, OTHER_SECRET, key_id="other-1"))

    put(stack, AI, entry(AI, real, NEXT_SECRET, key_id="ai-2"))
    eventually(lambda: entries_of(stack, "BTCUSDT") > before, within=WITHIN, what="the real one is executed")

    # It should tell the producer who says something else under its own id.
    letter = put(stack, AI, entry(AI, guess))
    assert reason_of(stack, letter) == "IDENTITY_REUSED"
    assert entries_of(stack, "BTCUSDT") == before + 1
    trading_goes_on(stack, held, restart=False)


def test_an_unsigned_stop_holds_entries_and_closes_nothing(stack: CeleryStack, held: HeldPosition) -> None:
    """ESS_TRIP_ACTION is flatten: whoever can write to the bus could otherwise close every position at market."""
    letter = put(stack, TRIP, wrapped(TRIP, {"reason": "attack"}, source="attack"))

    assert reason_of(stack, letter) == "SIGNATURE_MISSING"
    lines = "SELECT count(*) FROM execution_auditevent WHERE entity = 'ess' AND to_state = 'UNPROVEN_STOP'"
    assert stack.rows(lines) == [(1,)]
    # By itself it should end, and never have closed what was open.
    trading_goes_on(stack, held)
