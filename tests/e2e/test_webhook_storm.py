"""Hundreds of alerts against the running web server: each is acted on once or refused by its field.

`make alerts` sends 1,000 of them, and prints the counts and the times of the answers.
"""

import os
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from local_stack.processes import Addresses, web
from local_stack.server import free_port
from tests.support.alert_storm import StormRecord, assert_answered_once, planned, send_all
from tests.support.databases import copied_database, redis_address
from tests.support.stack import SHORT, CeleryStack, crew
from tests.support.waiting import eventually

pytestmark = [pytest.mark.e2e, pytest.mark.django_db]
# Apart from the numbers of the other suites.
REDIS_DATABASE = 11
HOST = "127.0.0.1"
ALERTS = int(os.environ.get("ALERTS", "120"))
SEED = 20260302
SOME = 3
WITHIN_SECONDS = 60 + ALERTS / 2


@pytest.fixture
def storm_stack(tmp_path: Path, django_db_setup: None) -> Iterator[tuple[CeleryStack, str]]:  # noqa: ARG001
    redis_url = redis_address(REDIS_DATABASE)
    with copied_database("storm") as database_url:
        addresses = Addresses(
            host=HOST, web_port=free_port(), flower_port=0, database_url=database_url, redis_url=redis_url
        )
        stack = CeleryStack(
            database_url=database_url,
            redis_url=redis_url,
            folder=tmp_path,
            programs=[*crew(tmp_path), web(addresses)],
            settings=SHORT | {"SIGNAL_MAX_AGE_SEC": "600", "LOG_LEVEL": "INFO"},
        )
        with stack:
            eventually(lambda: is_up(addresses.web_url), within=60, what="the web process answers", every=0.2)
            yield stack, addresses.web_url


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/health/live", timeout=2).status_code == 200
    except requests.RequestException:
        return False


def test_each_alert_is_acted_on_once_or_refused_by_its_field(
    storm_stack: tuple[CeleryStack, str], tmp_path: Path
) -> None:
    stack, url = storm_stack
    created = stack.manage("webhook", "create", "storm", "--calls-per-minute", "6000", "--reason", "a storm")
    token = created.strip().rpartition("/hooks/")[2]
    alerts = planned(ALERTS, SEED)
    record = StormRecord()
    locked = threading.Thread(target=lock_inbox, args=(stack, record))
    locked.start()

    send_all(alerts, f"{url}/hooks/{token}", record, seed=SEED)
    locked.join()

    right = [alert for alert in alerts if not alert.refused_by]
    # Some were answered with a 5xx, and came again.
    assert record.statuses[503] > 0
    assert_answered_once(alerts, record)
    # It should have stored each right alert once, and nothing of the others.
    kept = dict(stack.rows("SELECT metadata->>'comment', count(*) FROM execution_executionrequest GROUP BY 1"))
    assert kept == {alert.name: 1 for alert in right}
    [counted] = stack.rows("SELECT accepted, repeated, refused FROM execution_webhook")
    assert counted == (len(right), record.statuses[202] - len(right), record.statuses[400])
    [(inbox,)] = stack.rows("SELECT count(*) FROM execution_inboxevent WHERE producer = 'webhook:storm'")
    assert inbox == len(right)
    # Each signal should have its outcome: a position, or a refusal with its reason.
    stack.await_final(requests=len(right), within=WITHIN_SECONDS)
    outcomes = Counter(stack.rows("SELECT state, reason_code FROM execution_executionrequest"))
    assert [state for state, reason in outcomes if state != "RECORDED" and not reason] == []
    opened = outcomes[("RECORDED", "")]
    assert opened == len(stack.paper.summary()["positions"]) > 0
    stack.check()
    # The token should stand in no log and no row of the broker.
    for log in tmp_path.glob("*.log"):
        assert token.removeprefix("hook_") not in log.read_text(), log.name
    report(record.seconds, record.statuses, outcomes)


def lock_inbox(stack: CeleryStack, record: StormRecord) -> None:
    """Keep the inbox from being written to, as a migration would, until alerts were answered with a 5xx."""
    eventually(lambda: record.statuses[202] > SOME, within=30, what="alerts are taken")
    with stack.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("LOCK TABLE execution_inboxevent IN ACCESS EXCLUSIVE MODE")
        eventually(lambda: record.statuses[503] > SOME, within=30, what="alerts are answered with a 5xx")
        cursor.execute("COMMIT")


def report(seconds: list[float], statuses: Counter[int], outcomes: Counter[tuple[str, str]]) -> None:
    """Print what was found, for `make alerts`."""
    ordered = sorted(seconds)
    half, last = ordered[len(ordered) // 2] * 1000, ordered[int(len(ordered) * 0.99)] * 1000
    print(f"\n{ALERTS} alerts, {len(seconds)} calls: {dict(sorted(statuses.items()))}")  # noqa: T201
    print(f"answers: p50 {half:.1f} ms, p99 {last:.1f} ms, with those that waited for a lock of the database")  # noqa: T201
    print(f"outcomes: { {' '.join(pair).strip(): number for pair, number in sorted(outcomes.items())} }")  # noqa: T201
