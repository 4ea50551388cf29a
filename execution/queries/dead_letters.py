"""Reads dead letters: messages that could not be read."""

from execution.models import DeadLetter


def letter_of(number: int) -> DeadLetter | None:
    """Return the letter of this id, or None when there is none."""
    return DeadLetter.objects.filter(pk=number).first()


def waiting_letters() -> int:
    """Return how many letters have not been replayed yet."""
    return DeadLetter.objects.filter(replayed_at=None).count()
