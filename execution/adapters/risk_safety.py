"""The risk-safety service over HTTP: one connection kept open, one budget of time, all vocabularies understood."""

import json
import time
from typing import Any

import requests
from urllib3.exceptions import HTTPError
from urllib3.exceptions import TimeoutError as Urllib3TimeoutError

from execution.domain.ports import EssReading, RiskSafetyUnavailableError

LARGEST_PIECE = 65_536


class HttpRiskSafety:
    """Asks the emergency stop and policy values. One instance a process or thread; sessions are not shared."""

    def __init__(self, base_url: str, *, timeout_seconds: float) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout_seconds
        self._session = requests.Session()
        # Proxies of the environment would see, and could answer, the question whether we may trade.
        self._session.trust_env = False
        # The body is read as it comes.
        self._session.headers["Accept-Encoding"] = "identity"

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
            raise RiskSafetyUnavailableError("an answer without policies", kind="not_json")
        return values

    def _get(self, path: str) -> dict[str, Any]:
        end = time.monotonic() + self._timeout
        try:
            with self._session.get(
                self._base_url + path, timeout=self._timeout, allow_redirects=False, stream=True
            ) as response:
                body = _parsed(_read(response, end))
        except (requests.Timeout, TimeoutError, Urllib3TimeoutError) as error:
            raise self._silence(error, kind="timeout") from error
        except (requests.RequestException, OSError, HTTPError) as error:
            raise self._silence(error, kind="connection") from error
        if response.status_code != requests.codes.ok:
            raise RiskSafetyUnavailableError(f"HTTP {response.status_code}", kind="status")
        if not isinstance(body, dict):
            raise RiskSafetyUnavailableError("HTTP 200 without a JSON object", kind="not_json")
        return body

    def _silence(self, error: Exception, *, kind: str) -> RiskSafetyUnavailableError:
        return RiskSafetyUnavailableError(f"{type(error).__name__} within {self._timeout}s", kind=kind)


def _read(response: requests.Response, end: float) -> bytes:
    """Read a body until `end`: the library's time-out is for each piece, so a neighbour that drips would hold us.

    Raises:
        TimeoutError: it was not all there in time.

    """
    parts: list[bytes] = []
    while True:
        left = end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection = response.raw.connection
        if connection is not None and connection.sock is not None:
            connection.sock.settimeout(left)
        part = response.raw.read1(LARGEST_PIECE)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _parsed(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None
