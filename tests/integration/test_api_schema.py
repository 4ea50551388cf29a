"""The committed `openapi.yml` is the API: it says what is served, and it is served as it says."""

from pathlib import Path

from django.core.management import call_command
from django.test import Client

COMMITTED = Path(__file__).resolve().parents[2] / "openapi.yml"


def test_the_committed_schema_is_the_generated_one(tmp_path: Path) -> None:
    fresh = tmp_path / "openapi.yml"

    call_command("spectacular", file=str(fresh), validate=True, fail_on_warn=True)

    # After a change of the API: manage.py spectacular --validate --fail-on-warn --file openapi.yml
    assert fresh.read_text() == COMMITTED.read_text()


def test_the_schema_is_served(client: Client) -> None:
    answer = client.get("/schema")

    assert answer.status_code == 200
    assert answer.content.decode() == COMMITTED.read_text()
