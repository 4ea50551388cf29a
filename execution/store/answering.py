"""Whether the database answers, for callers that must know its outage from a fault of one row."""

from django.db import InterfaceError, OperationalError, connection


def database_answers() -> bool:
    """Whether the database works now, so that what has failed is about the row in hand."""
    connection.close_if_unusable_or_obsolete()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except (OperationalError, InterfaceError):
        return False
    return True
