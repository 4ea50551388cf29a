"""`.env.example` names every setting with its default and one sentence, and no setting that does not exist."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from pydantic_settings import BaseSettings

from execution_project.env import Environment
from local_stack.settings import LocalEnvironment

ROOT = Path(__file__).resolve().parents[2]
SETTING = re.compile(r"#([A-Z][A-Z0-9_]*)=(.*)")
# Read by docker-compose.yml and not by our code.
COMPOSE_ONLY = {
    "POSTGRES_PASSWORD": "",
    "POSTGRES_SERVICE_PASSWORD": "",
    "VALKEY_BUS_PASSWORD": "",
    "VALKEY_BROKER_PASSWORD": "",
    "VALKEY_STATE_PASSWORD": "",
    "VALKEY_NEIGHBOUR_PASSWORD": "",
    "ORDERS_CONCURRENCY": "2",
    "COMPOSE_PROFILES": "",
}


def shown() -> dict[str, tuple[str, str]]:
    """Return each setting of the file with its default and the line above it."""
    lines = (ROOT / ".env.example").read_text().splitlines()
    found: dict[str, tuple[str, str]] = {}
    for above, line in zip(["", *lines], lines, strict=False):
        match = SETTING.fullmatch(line)
        if match:
            assert match[1] not in found, f"{match[1]} stands twice"
            found[match[1]] = (match[2], above)
    return found


def defaults_of(settings: type[BaseSettings]) -> dict[str, str]:
    return {name.upper(): as_text(field.default) for name, field in settings.model_fields.items()}


def as_text(default: Any) -> str:
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    if isinstance(default, bool):
        return str(default).lower()
    return "" if default is None else str(default)


def test_the_file_shows_exactly_the_settings_of_the_code_with_their_defaults() -> None:
    expected = defaults_of(Environment) | defaults_of(LocalEnvironment) | COMPOSE_ONLY

    assert {name: default for name, (default, _) in shown().items()} == expected


@pytest.mark.parametrize("name", sorted(shown()))
def test_each_setting_is_explained_in_one_line_above_it(name: str) -> None:
    _, above = shown()[name]

    # It should be a sentence, not another setting and not a gap.
    assert re.fullmatch(r"# \S.*[.)]", above), above


def test_the_example_sets_nothing_by_itself() -> None:
    """Copied as it is, it must leave every default and every secret alone."""
    lines = (ROOT / ".env.example").read_text().splitlines()

    assert [line for line in lines if line and not line.startswith("#")] == []
