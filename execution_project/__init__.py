"""The Django project: settings, the Celery application, URLs."""

from execution_project.processes import collect_seldom

# Before the imports that are worth it.
collect_seldom()

from execution_project.celery import app as celery_app  # noqa: E402 -- as said above

__all__ = ["celery_app"]
