"""Migrates without the bounds of the service's sessions: rewriting a table takes as long as it takes."""

from typing import Any

from django.core.management.commands import migrate
from django.db import connections

from execution_project.postgres.base import bound_session
from execution_project.waits import Kind, held_as


class Command(migrate.Command):
    """Django's `migrate`; a session that is open before or stays open after it has its usual bounds."""

    def handle(self, *args: Any, **options: Any) -> None:
        database = connections[options["database"]]
        try:
            with held_as(Kind.MIGRATION):
                bound_session(database)
                super().handle(*args, **options)
        finally:
            bound_session(database)
