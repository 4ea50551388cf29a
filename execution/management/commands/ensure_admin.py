"""`manage.py ensure_admin`: makes sure that a superuser can sign in to the admin. Safe to repeat."""

import sys
from argparse import ArgumentParser

from django.contrib.auth import get_user_model
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from execution.management.terminal import TerminalCommand


class Command(TerminalCommand):
    """Creates the user, or gives it this password and its rights again."""

    help = "Create or update a superuser. The password is read from standard input, so that no process list shows it."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--username", default="admin")
        parser.add_argument("--password-stdin", action="store_true", required=True)

    def handle(self, *_: object, username: str, **__: object) -> None:
        password = sys.stdin.readline().rstrip("\r\n")
        try:
            validate_password(password)
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from None
        rights = {"is_staff": True, "is_superuser": True, "is_active": True}
        user, created = get_user_model().objects.update_or_create(username=username, defaults=rights)
        # Setting the same password again would end the sessions that are open.
        if not user.check_password(password):
            user.set_password(password)
            user.save(update_fields=["password"])
        self.stdout.write(f"{'Created' if created else 'Updated'} {username}.")
