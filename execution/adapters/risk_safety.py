"""The risk-safety service over HTTP: its emergency stop and its policy values."""

import json
import re

import requests

from execution.adapters.outgoing import OutgoingSession, PeerRule, any_peer
from execution.domain.bounds import without_unfit
from execution.domain.ports import EssReading, RiskSafetyUnavailableError

LARGEST_ANSWER = 1024 * 1024
# What can be the name of a policy value. Anything else would be another address at that service, not another key.
POLICY_KEY = re.compile(r"[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*")
LONGEST_KEY = 200
# How much of a state and of its reason is kept, so that the stored text can be compared with the next answer.
STATE_LENGTH, REASON_LENGTH = 32, 2000
# The stand-in of the local stack names itself in every answer.
STAND_IN_HEADER = "X-Stand-In"


class HttpRiskSafety:
    """Asks for the state of the emergency stop and for policy values.

    Each answer has one time-out in all, and the connection is kept open. One instance serves one process or thread:
    sessions are not shared.
    """

    def __init__(
        self, base_url: str, *, timeout_seconds: float, peer_rule: PeerRule = any_peer, takes_stand_in: bool = True
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._timeout = timeout_seconds
        self._takes_stand_in = takes_stand_in
        self._session = OutgoingSession(peer_rule=peer_rule, largest_body=LARGEST_ANSWER)
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
            state=_words(body.get("state", "MISSING"), STATE_LENGTH).upper()[:STATE_LENGTH],
            can_execute=can_execute is True,
            reason=_words(body.get("trip_reason") or body.get("error") or "", REASON_LENGTH),
        )

    def policy(self, key: str) -> object:
        """Return a policy value. None when the service does not keep it, or when the key is no possible name.

        Raises:
            RiskSafetyUnavailableError: as for `ess`.

        """
        if len(key) > LONGEST_KEY or not POLICY_KEY.fullmatch(key):
            return None
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

    def _get(self, path: str) -> dict[str, object]:
        try:
            response = self._session.get(self._base_url + path, timeout=self._timeout)
        except requests.Timeout as error:
            raise self._silence(error, kind="timeout") from error
        except requests.RequestException as error:
            raise self._silence(error, kind="connection") from error
        if not self._takes_stand_in and STAND_IN_HEADER in response.headers:
            raise RiskSafetyUnavailableError("a stand-in answers, which judges nothing", kind="stand_in")
        if response.status_code != requests.codes.ok:
            raise RiskSafetyUnavailableError(f"HTTP {response.status_code}", kind="status")
        try:
            body: object = json.loads(response.content)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise RiskSafetyUnavailableError("HTTP 200 without a JSON object", kind="not_json")
        return body

    def _silence(self, error: Exception, *, kind: str) -> RiskSafetyUnavailableError:
        return RiskSafetyUnavailableError(f"{type(error).__name__} within {self._timeout}s", kind=kind)


def _words(value: object, length: int) -> str:
    """Return a text of the service as it can be stored."""
    return without_unfit(str(value)[:length])
