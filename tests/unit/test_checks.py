"""Start-up checks: each setting that could lose a task is refused by name."""

import pytest
from celery import current_app

import celeryconfig
from execution import checks, tasks
from execution_project.env import Environment


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("task_acks_late", False),
        ("task_reject_on_worker_lost", False),
        ("worker_prefetch_multiplier", 4),
        ("task_serializer", "pickle"),
        ("accept_content", ["json", "pickle"]),
        ("task_always_eager", True),
    ],
)
def test_a_setting_that_can_lose_a_task_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: object
) -> None:
    assert checks.tasks_cannot_be_lost(None) == []

    monkeypatch.setitem(current_app.conf, setting, value)

    (problem,) = checks.tasks_cannot_be_lost(None)
    assert problem.id == "execution.E001"
    assert setting in problem.msg


@pytest.mark.parametrize("word", ["acks_late", "reject_on_worker_lost"])
def test_a_task_that_sets_its_own_rule_is_refused(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setattr(tasks.place_order, word, False)

    (problem,) = checks.tasks_cannot_be_lost(None)

    assert problem.id == "execution.E001"
    assert f"execution.tasks.place_order must not set {word}=False" in problem.msg


def test_a_task_may_not_outlive_its_delivery(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "broker_transport_options", {"visibility_timeout": 45})

    (problem,) = checks.tasks_cannot_be_lost(None)

    assert problem.id == "execution.E002"
    assert "CELERY_VISIBILITY_TIMEOUT_SECONDS (45)" in problem.msg


@pytest.mark.parametrize(("mode", "ids"), [("testnet", ["execution.E003"]), ("paper", [])])
def test_a_made_up_secret_is_refused_outside_of_paper_mode(
    monkeypatch: pytest.MonkeyPatch, mode: str, ids: list[str]
) -> None:
    for name in ("SECRET_KEY", "BINANCE_BASE_URL", "BINANCE_STREAM_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BINANCE_TESTNET_API_KEY", "key")
    monkeypatch.setenv("BINANCE_TESTNET_API_SECRET", "secret")
    monkeypatch.setenv("EXECUTION_API_KEY", "x" * 16)
    monkeypatch.setenv("EXECUTION_MODE", mode)
    env = Environment(_env_file=None)
    monkeypatch.setattr(checks, "environment", lambda: env)

    assert [problem.id for problem in checks.profile_is_safe(None)] == ids


def test_an_object_among_celery_s_settings_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert checks.celery_shows_no_settings(None) == []

    for name in ("ENV", "environment", "helper"):
        monkeypatch.setattr(celeryconfig, name, object(), raising=False)

    problems = checks.celery_shows_no_settings(None)
    assert {problem.id for problem in problems} == {"execution.E004"}
    assert [problem.msg.partition(" ")[0] for problem in problems] == [
        f"celeryconfig.{name}" for name in ("ENV", "environment", "helper")
    ]


def test_remote_control_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(current_app.conf, "worker_enable_remote_control", True)

    assert [problem.id for problem in checks.celery_shows_no_settings(None)] == ["execution.E005"]
