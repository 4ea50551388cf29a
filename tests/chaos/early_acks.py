"""The service's Celery application, configured so that it would lose tasks: its start-up check has to refuse it."""

from execution_project.celery import app

app.conf.task_acks_late = False

__all__ = ["app"]
