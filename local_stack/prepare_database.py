"""Migrates the database, as its owner, and makes sure that an admin can sign in: one program, Django starts once.

    python -m local_stack.prepare_database [--reset-password]

It is started together with PostgreSQL and waits for it. ADMIN_PASSWORD holds the password; an existing `admin` keeps
its own unless `--reset-password` is given. MIGRATED_FILE is touched when the tables are there.
"""

import os
import sys
import time
from pathlib import Path

import django
from django.core.management import call_command
from django.db import OperationalError, connection

from local_stack.credentials import ADMIN

DATABASE_SECONDS = 30.0


def wait_for_database() -> None:
    deadline = time.monotonic() + DATABASE_SECONDS
    while True:
        try:
            connection.ensure_connection()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def ensure_admin(password: str, *, reset: bool) -> None:
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django must be set up first

    user, created = User.objects.get_or_create(username=ADMIN, defaults={"is_staff": True, "is_superuser": True})
    if created or reset:
        user.set_password(password)
        user.save(update_fields=["password"])


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
    django.setup()
    from execution_project.owner import as_owner  # noqa: PLC0415 - Django must be set up first

    with as_owner():
        wait_for_database()
    call_command("migrate", interactive=False, verbosity=1)
    # Before the password, whose hash takes long on purpose.
    Path(os.environ["MIGRATED_FILE"]).touch()
    ensure_admin(os.environ["ADMIN_PASSWORD"], reset="--reset-password" in sys.argv)


if __name__ == "__main__":
    main()
