"""The Django application of the service."""

from django.apps import AppConfig


class ExecutionConfig(AppConfig):
    """Registers the system checks."""

    name = "execution"
    verbose_name = "Execution"

    def ready(self) -> None:
        from execution import checks  # noqa: F401, PLC0415 -- importing registers the checks
