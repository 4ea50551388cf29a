"""The keys of the producers of events as settings: strict, and never shown."""

import json
from typing import Any

import pytest
from django.core.checks import Error
from pydantic import SecretStr, ValidationError

from execution import checks
from execution_project.env import Environment, describe_refusal
from execution_project.event_keys import EventKey, parse_event_keys

SECRET = "kV9x-2LmQ7rTz4WcYb8HnEj1Ds6UfGa0Po3IuXvR"
AI: dict[str, Any] = {"producer": "ai-engine", "secret": SECRET, "streams": ["ai.decision.made"]}


def keys(**given: Any) -> str:
    return json.dumps(given)


def test_keys_are_read_by_their_ids() -> None:
    second = AI | {"secret": SECRET[::-1]}

    assert parse_event_keys(json.dumps({"ai-2026a": AI, "ai-2026b": second})) == {
        "ai-2026a": EventKey(producer="ai-engine", secret=SecretStr(SECRET), streams=frozenset({"ai.decision.made"})),
        "ai-2026b": EventKey(
            producer="ai-engine", secret=SecretStr(SECRET[::-1]), streams=frozenset({"ai.decision.made"})
        ),
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{{"a": "{SECRET}', "is not JSON: column"),
        (f'["{SECRET}"]', "must be a JSON object of 1 to 100 keys"),
        ("{}", "must be a JSON object of 1 to 100 keys"),
        ("[" * 100_000, "nested too deeply|not JSON"),
        (keys(**{f"k{number}": AI for number in range(101)}), "must be a JSON object of 1 to 100 keys"),
        (f'{{"a": {json.dumps(AI)}, "a": {json.dumps(AI)}}}', "names something twice"),
        (keys(**{"a b": AI}), "a key's id must be"),
        (keys(**{"": AI}), "a key's id must be"),
        (keys(a=SECRET), "a must have exactly: producer, secret, streams"),
        (keys(a=AI | {"more": 1}), "a must have exactly"),
        (keys(a={"producer": "ai", "secret": SECRET}), "a must have exactly"),
        (keys(a=AI | {"producer": ""}), "a: producer must be"),
        (keys(a=AI | {"producer": 7}), "a: producer must be"),
        (keys(a=AI | {"secret": SECRET[:31]}), "a: secret must have at least 32"),
        (keys(a=AI | {"secret": "ü" * 40}), "a: secret must have at least 32"),
        (keys(a=AI | {"secret": None}), "a: secret must have at least 32"),
        (keys(a=AI | {"streams": []}), "a: streams must be"),
        (keys(a=AI | {"streams": "ai.decision.made"}), "a: streams must be"),
        (keys(a=AI | {"streams": [1]}), "a: streams must be"),
        (keys(a=AI, b=AI | {"producer": "other"}), "a and b have the same secret"),
    ],
)
def test_whatever_else_is_refused_without_being_shown(text: str, problem: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Environment(_env_file=None, event_signing_keys=SecretStr(text))

    [line] = describe_refusal(caught.value)
    assert line.startswith("EVENT_SIGNING_KEYS ")
    assert any(word in line for word in problem.split("|"))
    assert SECRET[:31] not in f"{line}{caught.value}"


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"event_own_key_secret": SecretStr(SECRET)}, "needs EVENT_OWN_KEY_ID"),
        ({"event_own_key_secret": SecretStr(SECRET), "event_own_key_id": "a b"}, "needs EVENT_OWN_KEY_ID"),
        ({"event_own_key_secret": SecretStr("short"), "event_own_key_id": "a"}, "at least 32"),
    ],
)
def test_our_own_key_is_whole_or_refused(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        Environment(_env_file=None, **given)


def test_every_secret_among_the_keys_is_masked_wherever_it_is_printed() -> None:
    env = Environment(_env_file=None, event_signing_keys=SecretStr(keys(a=AI)))

    assert SECRET not in f"{env!r}{env.event_keys!r}{env.model_dump()}"
    # What logs mask.
    assert SECRET in env.secret_values()


def test_a_stream_that_nobody_reads_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    slip = AI | {"streams": ["ai.decision.made", "ai.decisions"]}
    env = Environment(_env_file=None, event_signing_keys=SecretStr(keys(a=slip)))
    monkeypatch.setattr(checks, "environment", lambda: env)

    [found] = checks.producers_speak_on_known_streams(None)

    assert isinstance(found, Error)
    assert (found.id, "'ai.decisions'" in found.msg) == ("execution.E033", True)
