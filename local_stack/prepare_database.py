"""Migrates the database and makes sure that somebody can sign in: one program, so that Django starts once.

    python -m local_stack.prepare_database [--reset-password]

ADMIN_PASSWORD holds the password. An existing `admin` keeps its own unless `--reset-password` is given.
"""

import os
import sys

import django
from django.core.management import call_command

from local_stack.credentials import ADMIN


def ensure_admin(password: str, *, reset: bool) -> None:
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django must be set up first

    user, created = User.objects.get_or_create(username=ADMIN, defaults={"is_staff": True, "is_superuser": True})
    if created or reset:
        user.set_password(password)
        user.save(update_fields=["password"])


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "execution_project.settings")
    django.setup()
    call_command("migrate", interactive=False, verbosity=1)
    ensure_admin(os.environ["ADMIN_PASSWORD"], reset="--reset-password" in sys.argv)


if __name__ == "__main__":
    main()
