from collections.abc import Iterator

import pytest
import requests
import responses

from execution.adapters.risk_safety import HttpRiskSafety
from execution.domain.ports import EssReading, RiskSafetyUnavailableError

BASE = "http://risk.invalid:8003"
STATUS = f"{BASE}/api/risk/ess/status"
SLIPPAGE = f"{BASE}/api/policy/execution.max_slippage_pct"


@pytest.fixture
def server() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def service() -> HttpRiskSafety:
    return HttpRiskSafety(f"{BASE}/", timeout_seconds=1.0)


@pytest.mark.parametrize(
    ("body", "state", "can_execute", "reason"),
    [
        ({"state": "ARMED", "can_execute": True, "trip_reason": None}, "ARMED", True, ""),
        (
            {"state": "TRIPPED", "can_execute": False, "trip_reason": "Daily drawdown"},
            "TRIPPED",
            False,
            "Daily drawdown",
        ),
        ({"state": "ARMED", "enabled": True, "can_execute_orders": True}, "ARMED", True, ""),
        ({"state": "ARMED", "can_execute": False, "can_execute_orders": True}, "ARMED", False, ""),
        ({"state": "normal", "can_execute": True}, "NORMAL", True, ""),
        ({"error": "ESS not initialized", "healthy": False}, "MISSING", False, "ESS not initialized"),
        ({"state": "ARMED"}, "ARMED", False, ""),
        ({"state": "ARMED", "can_execute": "true"}, "ARMED", False, ""),
        ({"state": "ARMED", "can_execute": 1}, "ARMED", False, ""),
        ({"state": None, "can_execute": True}, "NONE", True, ""),
        ({}, "MISSING", False, ""),
    ],
)
def test_every_vocabulary_is_read_and_a_missing_flag_blocks(
    server: responses.RequestsMock,
    service: HttpRiskSafety,
    *,
    body: dict[str, object],
    state: str,
    can_execute: bool,
    reason: str,
) -> None:
    server.get(STATUS, json=body)

    assert service.ess() == EssReading(state=state, can_execute=can_execute, reason=reason)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (503, '{"detail": "Service not ready"}'),
        (500, '{"state": "ARMED", "can_execute": true}'),
        (404, '{"state": "ARMED", "can_execute": true}'),
        (204, ""),
        (200, ""),
        (200, "<html>proxy</html>"),
        (200, "[]"),
        (200, "null"),
        (200, '"ARMED"'),
    ],
)
def test_what_is_no_usable_answer_is_no_answer(
    server: responses.RequestsMock, service: HttpRiskSafety, status: int, body: str
) -> None:
    server.get(STATUS, status=status, body=body)

    # It should neither block nor permit: what silence means is decided elsewhere
    with pytest.raises(RiskSafetyUnavailableError):
        service.ess()


@pytest.mark.parametrize("fault", [requests.ConnectTimeout(), requests.ReadTimeout(), requests.ConnectionError()])
def test_silence_names_its_kind_and_budget(
    server: responses.RequestsMock, service: HttpRiskSafety, fault: Exception
) -> None:
    server.get(STATUS, body=fault)

    with pytest.raises(RiskSafetyUnavailableError, match=rf"^{type(fault).__name__} within 1\.0s$"):
        service.ess()


def test_a_redirect_is_not_followed(server: responses.RequestsMock, service: HttpRiskSafety) -> None:
    server.get(STATUS, status=302, json={}, headers={"Location": "http://elsewhere.invalid/"})

    with pytest.raises(RiskSafetyUnavailableError, match="HTTP 302"):
        service.ess()
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    ("body", "value"),
    [({"key": "execution.max_slippage_pct", "value": 0.003}, 0.003), ({"key": "x", "value": None}, None), ({}, None)],
)
def test_a_policy_value_is_handed_on_as_it_is(
    server: responses.RequestsMock, service: HttpRiskSafety, body: dict[str, object], value: object
) -> None:
    server.get(SLIPPAGE, json=body)

    assert service.policy("execution.max_slippage_pct") == value


def test_no_proxy_of_the_environment_answers_for_the_service(service: HttpRiskSafety) -> None:
    assert service._session.trust_env is False
