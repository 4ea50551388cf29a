"""The risk-safety service over HTTP: one connection kept open, one budget of time, all vocabularies understood."""

from typing import Any

import requests

from execution.domain.ports import EssReading, RiskSafetyUnavailableError


class HttpRiskSafety:
    """Asks the emergency stop and policy values. One instance a process or thread; sessions are not shared."""

    def __init__(self, base_url: str, *, timeout_seconds: float) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout_seconds
        self._session = requests.Session()
        # Proxies of the environment would see, and could answer, the question whether we may trade.
        self._session.trust_env = False

    def ess(self) -> EssReading:
        """Return the state of the emergency stop.

        Raises:
            RiskSafetyUnavailableError: no connection, no answer in time, an error status, or not a JSON object.

        """
        body = self._get("/api/risk/ess/status")
        # Some revisions name the flag differently; a missing flag blocks, so it must not default to true.
        can_execute = body.get("can_execute", body.get("can_execute_orders"))
        return EssReading(
            state=str(body.get("state", "MISSING")).upper(),
            can_execute=can_execute is True,
            reason=str(body.get("trip_reason") or body.get("error") or ""),
        )

    def policy(self, key: str) -> object:
        """Return a policy value, or None when the service does not keep the key.

        Raises:
            RiskSafetyUnavailableError: as for `ess`.

        """
        return self._get(f"/api/policy/{key}").get("value")

    def policies(self) -> dict[str, object]:
        """Return every policy value that the service keeps.

        Raises:
            RiskSafetyUnavailableError: as for `ess`, or an answer without policies.

        """
        values = self._get("/api/policy").get("policies")
        if not isinstance(values, dict):
            raise RiskSafetyUnavailableError("an answer without policies")
        return values

    def _get(self, path: str) -> dict[str, Any]:
        try:
            response = self._session.get(self._base_url + path, timeout=self._timeout, allow_redirects=False)
            body = response.json()
        except requests.RequestException as error:
            raise RiskSafetyUnavailableError(f"{type(error).__name__} within {self._timeout}s") from error
        if response.status_code != requests.codes.ok or not isinstance(body, dict):
            raise RiskSafetyUnavailableError(f"HTTP {response.status_code}")
        return body
