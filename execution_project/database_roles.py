"""The two roles in PostgreSQL: the owner migrates, the service works and can neither change the journal nor the schema.

What the service may do is said here, table by table, after every migration (`manage.py migrate`): a table that comes
later gets its rights with the migration that brings it, and what is not named gets none.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg
from psycopg import sql

Connection = psycopg.Connection[Any]

JOURNAL = "execution_auditevent"
# The service adds lines to the journal, whose ids the database gives, and reads the rest.
READ_ONLY = frozenset({JOURNAL, "execution_journalseal", "execution_journalhead", "django_migrations"})
FUNCTIONS = ("execution_seal_journal(integer)", "execution_forget_journal(bigint[])")
# With these a role reads or writes the server's files, runs programs there, or becomes somebody else.
PREDEFINED = (
    *("pg_write_all_data", "pg_write_server_files", "pg_execute_server_program", "pg_read_server_files"),
    *("pg_create_subscription", "pg_signal_backend"),
)
TABLES = (
    "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace"
)
# Each question with the power that a row of its answer names; %(role)s is the role's name.
POWERS = (
    ("SELECT 'is a superuser' FROM pg_roles WHERE rolname = %(role)s AND rolsuper"),
    ("SELECT 'may make roles' FROM pg_roles WHERE rolname = %(role)s AND rolcreaterole"),
    ("SELECT 'may replicate' FROM pg_roles WHERE rolname = %(role)s AND rolreplication"),
    (
        "SELECT 'is or may become the owner of the journal' FROM pg_class WHERE oid = to_regclass(%(journal)s)"
        " AND pg_has_role(%(role)s::text, relowner, 'MEMBER')"
    ),
    (
        "SELECT 'is or may become the owner of the schema' FROM pg_namespace"
        " WHERE nspname = current_schema() AND pg_has_role(%(role)s::text, nspowner, 'MEMBER')"
    ),
    (
        "SELECT 'is or may become the owner of the database' FROM pg_database"
        " WHERE datname = current_database() AND pg_has_role(%(role)s::text, datdba, 'MEMBER')"
    ),
    (
        "SELECT 'may ' || lower(one) || ' ' || named FROM unnest(%(tables)s::text[]) AS named,"
        " unnest(ARRAY['UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER']) AS one"
        " WHERE to_regclass(named) IS NOT NULL AND (has_table_privilege(%(role)s::text, to_regclass(named), one)"
        " OR one = 'UPDATE' AND has_any_column_privilege(%(role)s::text, to_regclass(named), one)) ORDER BY 1"
    ),
    (
        "SELECT 'may create in the schema' FROM pg_namespace WHERE nspname = current_schema()"
        " AND has_schema_privilege(%(role)s::text, oid, 'CREATE')"
    ),
    (
        "SELECT 'has the rights of ' || rolname FROM pg_roles WHERE rolname = ANY (%(predefined)s)"
        " AND pg_has_role(%(role)s::text, oid, 'MEMBER') ORDER BY 1"
    ),
)


class RoleError(Exception):
    """A role cannot be made or given its rights; the message says what an administrator does about it."""


def ensure_role(connection: Connection, role: str, password: str) -> bool:
    """Make the service's role when there is none, and return whether it was made.

    Args:
        connection: the owner's.
        role: its name.
        password: its password; the server gets the digest that it keeps, so that no log of statements shows it.

    Raises:
        RoleError: it is missing, and the owner may not make roles.

    """
    if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        return False
    kept = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256") if password else b""
    login = sql.SQL(" PASSWORD {}").format(sql.Literal(kept.decode())) if kept else sql.SQL("")
    statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION")
    try:
        with connection.transaction():
            connection.execute(statement.format(sql.Identifier(role)) + login)
    except psycopg.errors.DuplicateObject:
        # Another migration has made it in the meantime.
        return False
    except psycopg.errors.InsufficientPrivilege:
        raise RoleError(
            f"There is no role {role}, and the role of DATABASE_OWNER_URL may not make one. "
            f"An administrator does: CREATE ROLE {role} LOGIN PASSWORD '...'"
        ) from None
    return True


def grant_service(connection: Connection, role: str, *, kept_days: int | None) -> None:
    """Give the service's role what it needs and take from it what it must not have, in one transaction.

    Args:
        connection: the owner's, on a migrated database.
        role: the service's role.
        kept_days: the age in days below which retention removes no line of the journal; None: it removes none.

    Raises:
        RoleError: a table does not belong to the owner.

    """
    try:
        with connection.transaction():
            grant_database(connection, role)
            for (table,) in connection.execute(TABLES).fetchall():
                _grant_table(connection, role, table)
            _grant_functions(connection, role)
            connection.execute("UPDATE execution_journalhead SET kept_days = %s", [kept_days])
    except psycopg.errors.InsufficientPrivilege as error:
        raise RoleError(
            f"The rights of {role} cannot be set: {error.diag.message_primary}. "
            "The role of DATABASE_OWNER_URL must own every table of the service."
        ) from None


def grant_database(connection: Connection, role: str) -> None:
    """Let the role connect and use the schema, and let nobody but the owner create in it."""
    schema, database = _row(connection, "SELECT current_schema(), current_database()")
    names = {"schema": sql.Identifier(schema), "database": sql.Identifier(database), "role": sql.Identifier(role)}
    for statement in (
        "GRANT CONNECT ON DATABASE {database} TO {role}",
        # PostgreSQL up to 14 lets everybody create there.
        "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC, {role}",
        "GRANT USAGE ON SCHEMA {schema} TO {role}",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    ):
        connection.execute(sql.SQL(statement).format(**names))


def _grant_table(connection: Connection, role: str, table: str) -> None:
    names: Mapping[str, sql.Composable] = {
        "table": sql.Identifier(table),
        "role": sql.Identifier(role),
        "rights": sql.SQL("SELECT" if table in READ_ONLY else "SELECT, INSERT, UPDATE, DELETE"),
    }
    connection.execute(sql.SQL("REVOKE ALL ON {table} FROM PUBLIC, {role}").format(**names))
    connection.execute(sql.SQL("GRANT {rights} ON {table} TO {role}").format(**names))
    if table == JOURNAL:
        # No line with an id of its own choice: that would stand where it does not belong.
        columns = sql.SQL(", ").join(map(sql.Identifier, _columns(connection, table)))
        connection.execute(sql.SQL("GRANT INSERT ({columns}) ON {table} TO {role}").format(columns=columns, **names))
        sequence = sql.SQL(_row(connection, "SELECT pg_get_serial_sequence(%s, 'id')", table)[0])
        connection.execute(sql.SQL("REVOKE ALL ON {sequence} FROM {role}").format(sequence=sequence, **names))


def _columns(connection: Connection, table: str) -> Sequence[str]:
    found = connection.execute(
        "SELECT attname FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attnum > 0 AND NOT attisdropped"
        " AND attname <> 'id' ORDER BY attnum",
        [table],
    )
    return [name for (name,) in found.fetchall()]


def _grant_functions(connection: Connection, role: str) -> None:
    for function in FUNCTIONS:
        name = sql.SQL(function)
        connection.execute(sql.SQL("REVOKE ALL ON FUNCTION {} FROM PUBLIC").format(name))
        connection.execute(sql.SQL("GRANT EXECUTE ON FUNCTION {} TO {}").format(name, sql.Identifier(role)))


def powers_of(connection: Connection, role: str) -> list[str]:
    """Return what a role can do that the service's must not, in words; on a database without tables, what is known."""
    if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
        return []
    asked = {"role": role, "journal": JOURNAL, "tables": sorted(READ_ONLY), "predefined": list(PREDEFINED)}
    return [power for question in POWERS for (power,) in connection.execute(question, asked).fetchall()]


def _row(connection: Connection, query: str, *parameters: object) -> tuple[Any, ...]:
    found = connection.execute(query, parameters).fetchone()
    if found is None:
        raise LookupError(query)
    return tuple(found)
