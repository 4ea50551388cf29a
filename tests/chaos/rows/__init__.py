"""The stories of the matrix by theme; importing this package enters all of them."""

from tests.chaos.rows import answers, kills, repeats

__all__ = ["answers", "kills", "repeats"]
