"""Runs the start-up checks where Django does not run them by itself: in workers, in beat and in the web process."""


def refuse_unsafe_start() -> None:
    """End the process with one line a problem when a check finds an error (`execution/checks.py`).

    Raises:
        SystemExit: an error was found; its text names each.

    """
    from django.core.management import call_command  # noqa: PLC0415 -- Django must be set up first
    from django.core.management.base import SystemCheckError  # noqa: PLC0415 -- as above

    try:
        # With the database's name, the checks that ask the neighbours run, too.
        call_command("check", tags=["execution"], databases=["default"], fail_level="ERROR")
    except SystemCheckError as error:
        raise SystemExit(str(error)) from None
