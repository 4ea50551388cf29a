"""The books for people: everything can be found and read; only dead letters and the kill switch can be acted on."""

from execution.admin import brakes, messages, trading

__all__ = ["brakes", "messages", "trading"]
