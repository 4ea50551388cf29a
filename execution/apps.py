"""The Django application of the service."""

from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    """Registers the system checks and the reader of stored times."""

    name = "execution"
    verbose_name = "Execution"

    def ready(self) -> None:
        from execution import checks  # noqa: F401, PLC0415 -- importing registers the checks
        from execution.crash_points import Ambush, watch_point  # noqa: PLC0415 -- as above
        from execution.models import reading  # noqa: PLC0415 -- as above
        from execution_project.env import environment  # noqa: PLC0415 -- as above

        reading.install()
        if setting := environment().crash_point:
            watch_point(Ambush.parse(setting))
