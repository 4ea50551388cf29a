"""The kill switch's three levels, named by what they block; reducing orders pass at every level."""

from enum import StrEnum


class KillLevel(StrEnum):
    """What an engaged kill switch does, from the mildest to the strongest; each does what those before it do."""

    # No new entry is sent.
    ENTRIES = "entries"
    # Entries that rest at the exchange are cancelled as well.
    HALT = "halt"
    # Open positions are closed at market as well.
    FLATTEN = "flatten"

    @property
    def rank(self) -> int:
        return list(KillLevel).index(self)

    @property
    def cancels_entries(self) -> bool:
        return self is not KillLevel.ENTRIES

    @property
    def closes_positions(self) -> bool:
        return self is KillLevel.FLATTEN
