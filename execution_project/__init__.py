"""The Django project: settings, the Celery application, URLs."""

from execution_project.celery import app as celery_app

__all__ = ["celery_app"]
