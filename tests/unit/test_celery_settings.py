from typing import Any

import pytest

import execution.tasks  # noqa: F401 -- registers what beat sends
from execution.workflow import PRIORITIES
from execution_project.celery import app

# The settings as Celery has taken them over from celeryconfig.py.
CONF: Any = app.conf


def test_no_task_is_lost_with_its_worker() -> None:
    assert CONF.task_acks_late is True
    assert CONF.task_reject_on_worker_lost is True
    assert CONF.worker_prefetch_multiplier == 1


def test_nobody_runs_code_from_the_broker() -> None:
    assert CONF.task_serializer == "json"
    assert CONF.accept_content == ["json"]


def test_a_dead_workers_tasks_come_back_within_a_minute() -> None:
    options = CONF.broker_transport_options

    assert options["visibility_timeout"] == 60
    assert options["unacked_restore_interval"] * options["unacked_restore_throttle"] == 5
    # It should never deliver a task a second time that may still run
    assert CONF.task_time_limit < options["visibility_timeout"]
    assert CONF.task_soft_time_limit < CONF.task_time_limit


def test_outcomes_stand_in_the_database_only() -> None:
    assert CONF.result_backend is None
    assert CONF.task_ignore_result is True


def test_every_task_is_routed_to_a_queue_that_exists() -> None:
    queues = {queue.name for queue in CONF.task_queues}
    routed = {name: route["queue"] for name, route in CONF.task_routes.items()}
    known = {name for name in app.tasks if name.startswith("execution.tasks.")}

    assert queues == {"orders", "monitor", "protect", "bridge"}
    assert CONF.task_default_queue == "orders"
    # It should route no name that is not a task
    assert set(routed) <= known
    assert set(routed.values()) <= queues
    # It should keep the monitor and the bridge out of the way of orders
    assert routed["execution.tasks.run_monitor_cycle"] == "monitor"
    assert routed["execution.tasks.ensure_cover"] == "protect"
    assert routed["execution.tasks.read_events"] == "bridge"
    # It should not let what stops us queue behind the orders that it stops
    urgent = {name for name, route in CONF.task_routes.items() if route.get("priority") == 0}
    stopping = {"apply_policy", "work_off_kill_switch", "work_off_trip"}
    assert {f"execution.tasks.{name}" for name in stopping} <= urgent
    assert "orders" not in {routed[f"execution.tasks.{name}"] for name in stopping}


def test_the_monitor_runs_every_ten_seconds_and_never_piles_up() -> None:
    monitor = CONF.beat_schedule["watch positions"]

    assert (monitor["task"], monitor["schedule"]) == ("execution.tasks.run_monitor_cycle", 10.0)
    assert monitor["options"] == {"expires": 9.5}
    # It should say that the clock sends it, so that a second clock does not double the sweeps.
    assert monitor["kwargs"] == {"by_beat": True}


def test_a_lost_connection_to_the_broker_is_one_that_a_worker_reconnects_after() -> None:
    connection = app.connection_for_write()
    channel = connection.get_transport_cls().Channel.__new__(connection.get_transport_cls().Channel)
    channel.connection = None

    with pytest.raises(connection.connection_errors):
        channel._connparams()


@pytest.mark.parametrize("entry", CONF.beat_schedule.values(), ids=lambda entry: entry["task"])
def test_every_beat_entry_is_a_task_and_expires_before_the_next(entry: dict[str, object]) -> None:
    schedule, options = entry["schedule"], entry["options"]

    assert isinstance(schedule, float)
    assert isinstance(options, dict)
    assert 0 < options["expires"] < schedule
    assert entry["task"] in app.tasks


def test_later_steps_go_first() -> None:
    options = CONF.broker_transport_options
    # Redis serves the lower number first
    steps = sorted(PRIORITIES, key=lambda name: PRIORITIES[name])

    assert steps == ["protect_position", "record_trade", "place_order", "guard_safety", "check_ess"]
    assert options["queue_order_strategy"] == "priority"
    assert set(PRIORITIES.values()) <= set(options["priority_steps"])


def test_connections_to_the_database_are_kept() -> None:
    assert CONF["CELERY_DB_REUSE_MAX"] == 10**9
