"""`manage.py migrate`: Django's own, as the role of DATABASE_OWNER_URL.

That role then sets the rights of the service's role.
"""

from collections.abc import Mapping
from typing import Any

from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.loader import MigrationLoader

from execution_project.database_roles import RoleError, ensure_role, grant_database, grant_service
from execution_project.env import Environment, environment
from execution_project.owner import as_owner
from execution_project.postgres.base import unbounded
from execution_project.store_urls import password_of_database_url, user_of_database_url


class Command(migrate.Command):
    """Without DATABASE_OWNER_URL, one role does it all, by PostgreSQL's default: not in live mode.

    Its session has no bounds: rewriting a table takes as long as it takes.
    """

    def handle(self, *arguments: object, **options: Any) -> None:
        env = environment()
        with as_owner(options["database"]) as connection, unbounded(connection):
            _refuse_earlier_schema(connection)
            if not env.database_owner_url.get_secret_value() or options["plan"] or options["check_unapplied"]:
                super().handle(*arguments, **options)
                return
            try:
                self._migrate(connection, env, arguments, options)
            except RoleError as error:
                raise CommandError(str(error)) from None

    def _migrate(
        self,
        connection: BaseDatabaseWrapper,
        env: Environment,
        arguments: tuple[object, ...],
        options: Mapping[str, Any],
    ) -> None:
        connection.ensure_connection()
        role = service_role(env)
        made = ensure_role(connection.connection, role, password_of_service(env))
        # Before, too: the checks of live mode refuse a role that may do more than it should.
        self._grant(connection, env, role)
        super().handle(*arguments, **options)
        self._grant(connection, env, role)
        if options["verbosity"] >= 1:
            self.stdout.write(f"{'Made' if made else 'Set the rights of'} the service's role {role}.")

    def _grant(self, connection: BaseDatabaseWrapper, env: Environment, role: str) -> None:
        connection.ensure_connection()
        if has_journal(connection):
            grant_service(connection.connection, role, kept_days=env.journal_kept_days)
        else:
            # A database that is new, or was migrated back to before the chain.
            grant_database(connection.connection, role)


def _refuse_earlier_schema(connection: BaseDatabaseWrapper) -> None:
    """Refuse a database of before 1.0: its migrations have become one, and its states have other names."""
    loader = MigrationLoader(connection)
    unknown = sorted(
        name
        for app, name in loader.applied_migrations
        if app == "execution" and (app, name) not in loader.disk_migrations
    )
    if unknown:
        raise CommandError(
            f"this database is of an earlier version ({unknown[0]} and {len(unknown) - 1} more are not known here): "
            "start with a new database, and keep the old one for its books"
        )


def service_role(env: Environment) -> str:
    return user_of_database_url(env.database_url.get_secret_value())


def password_of_service(env: Environment) -> str:
    return password_of_database_url(env.database_url.get_secret_value()) or env.database_password.get_secret_value()


def has_journal(connection: BaseDatabaseWrapper) -> bool:
    return "execution_journalhead" in connection.introspection.table_names()
