"""Empties the database after a test that has committed: only the tables that hold rows, and not what migrations make.

Django's flush truncates every table, which makes and removes some hundred files, and writes all permissions anew.
"""

from functools import cache
from typing import Any

from django.db import connection, transaction

# Rows of the schema: `migrate` writes them, and no test does.
KEPT = frozenset({"django_content_type", "auth_permission"})


@cache
def _tables() -> tuple[str, ...]:
    names = connection.introspection.django_table_names(only_existing=True, include_views=False)
    return tuple(connection.ops.quote_name(name) for name in sorted(set(names) - KEPT))


def empty_tables() -> None:
    """Delete all rows. Waits, as TRUNCATE does, until nobody else is writing: what ended late is deleted too."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"LOCK TABLE {', '.join(_tables())} IN ACCESS EXCLUSIVE MODE")
        # The journal refuses deletions, and foreign keys an order of them.
        cursor.execute("SET LOCAL session_replication_role = replica")
        for table in _filled(cursor):
            cursor.execute(f"DELETE FROM {table}")  # noqa: S608 -- a table's name of our own


def _filled(cursor: Any) -> list[str]:
    questions = (f"SELECT '{table}' WHERE EXISTS (SELECT FROM {table})" for table in _tables())  # noqa: S608 -- as above
    cursor.execute(" UNION ALL ".join(questions))
    return [table for (table,) in cursor.fetchall()]
