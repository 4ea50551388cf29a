"""Celery's settings: no task is lost when a worker dies, and none waits for a message longer than a minute.

Celery takes every name of this module for a setting and shows settings to each client that asks, so nothing that is
not one stays here (the last lines; `execution/checks.py` refuses to start otherwise).
"""

from kombu.entity import Queue

from execution_project.broker_names import CONTROL_EXCHANGE, EVENT_EXCHANGE, KEY_PREFIX
from execution_project.env import environment
from execution_project.waits import REDIS_CHECK_SECONDS, REDIS_SECONDS

ENV = environment()

broker_url = ENV.redis_broker.broker_url
# `rediss://` alone would not encrypt the broker: kombu wants the options of TLS here.
broker_use_ssl = ENV.redis_broker.broker_tls or False
# A worker reconnects when Redis comes back, whatever it was doing when it went away.
broker_transport = "execution_project.broker:Transport"
broker_connection_retry_on_startup = True
# Nor does it end by what Redis answers when it changes its role, loads its data, cannot save, or has other users now
# (READONLY, UNBLOCKED, LOADING, MISCONF, NOPERM). It begins anew, for as long as that takes.
broker_channel_error_retry = True
broker_connection_max_retries = None
# A publication is tried twice: the first try may be what finds out that a connection has been silenced.
task_publish_retry_policy = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
# A dead worker's unacknowledged messages come back after the visibility timeout. kombu looks for them only every
# restore_interval x restore_throttle, by default 100 s; here every 5 s.
broker_transport_options = {
    # Another application of Celery on the same database has other keys (execution_project/broker_names.py).
    "global_keyprefix": KEY_PREFIX,
    "socket_path": ENV.redis_broker.path,
    "visibility_timeout": ENV.celery_visibility_timeout_seconds,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    # A connection that is silenced without being closed is noticed: a command after its time-out, and a BRPOP, which
    # the server ends after a second, when its reply is overdue by the second figure.
    "socket_timeout": REDIS_SECONDS,
    "socket_connect_timeout": REDIS_SECONDS,
    "socket_keepalive": True,
    "health_check_interval": REDIS_CHECK_SECONDS,
    "queue_order_strategy": "priority",
    # The priorities in use (PRIORITIES in execution/workflow.py, and the default): each is a key that workers poll.
    "priority_steps": [0, 2, 4, 5, 6],
}

# Outcomes stand in PostgreSQL; a result backend would be a second, weaker truth.
result_backend = None
task_ignore_result = True

# JSON only: whoever can write to the broker must not be able to run code (no pickle).
task_serializer = "json"
accept_content = ["json"]

# Late acknowledgement and rejection on a lost pool process: a killed worker's task is delivered again. Every task is
# therefore safe to run twice.
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
# No task has a rate of its own; the check for one is not free.
worker_disable_rate_limits = True
task_time_limit = ENV.celery_task_time_limit_seconds
task_soft_time_limit = max(1, ENV.celery_task_time_limit_seconds - 5)

task_default_queue = "orders"
task_default_priority = 5
task_queues = [Queue(name) for name in ("orders", "monitor", "protect", "bridge")]  # type: ignore[no-untyped-call]
task_routes = {
    "execution.tasks.read_events": {"queue": "bridge"},
    "execution.tasks.send_events": {"queue": "bridge"},
    "execution.tasks.apply_policy": {"queue": "bridge", "priority": 0},
    "execution.tasks.tidy_up": {"queue": "bridge"},
    "execution.tasks.seal_journal": {"queue": "bridge"},
    "execution.tasks.keep_figures": {"queue": "bridge", "priority": 6},
    "execution.tasks.run_monitor_cycle": {"queue": "monitor"},
    "execution.tasks.ensure_cover": {"queue": "protect", "priority": 0},
    "execution.tasks.work_off_kill_switch": {"queue": "monitor", "priority": 0},
    "execution.tasks.work_off_trip": {"queue": "monitor", "priority": 0},
}

# No client steers a worker that trades, nor reads its settings, over the broker: each one that writes to Redis could.
# Flower shows workers and tasks from these events; a worker's health is a file (execution_project/alive.py).
control_exchange = CONTROL_EXCHANGE
event_exchange = event_queue_prefix = EVENT_EXCHANGE
worker_enable_remote_control = False
worker_send_task_events = True
worker_consumer = "execution_project.consumer:BundlingConsumer"
task_send_sent_event = False

# Celery closes Django's connection around every task unless told how often to reuse it: that costs more than half
# of the throughput.
CELERY_DB_REUSE_MAX = ENV.celery_db_reuse_max

timezone = "UTC"
enable_utc = True
beat_schedule = {
    # `expires` keeps a late beat entry from piling up behind the one that runs.
    "watch positions": {
        "task": "execution.tasks.run_monitor_cycle",
        "schedule": float(ENV.position_monitor_interval_sec),
        "kwargs": {"by_beat": True},
        "options": {"expires": ENV.position_monitor_interval_sec - 0.5},
    },
    "ensure cover": {"task": "execution.tasks.ensure_cover", "schedule": 2.0, "options": {"expires": 1.9}},
    "re-arm the bridge": {"task": "execution.tasks.read_events", "schedule": 2.0, "options": {"expires": 1.9}},
    "re-arm the outbox relay": {"task": "execution.tasks.send_events", "schedule": 2.0, "options": {"expires": 1.9}},
    "seal the journal": {"task": "execution.tasks.seal_journal", "schedule": 5.0, "options": {"expires": 4.9}},
    "keep the figures": {"task": "execution.tasks.keep_figures", "schedule": 60.0, "options": {"expires": 59}},
    "delete what is old": {"task": "execution.tasks.tidy_up", "schedule": 600.0, "options": {"expires": 590}},
}
beat_max_loop_interval = 1
beat_scheduler = "execution_project.scheduler:SteadyScheduler"

# By these health knows that each queue is worked off; the first in its queue, for what it proves is that one is served.
beat_schedule |= {
    f"prove {queue.name}": {
        "task": "execution.tasks.prove_queue",
        "schedule": 4.0,
        "kwargs": {"queue": queue.name},
        "options": {"queue": queue.name, "priority": 0, "expires": 3.9},
    }
    for queue in task_queues
}

del CONTROL_EXCHANGE, ENV, EVENT_EXCHANGE, KEY_PREFIX, REDIS_CHECK_SECONDS, REDIS_SECONDS, environment, Queue
