"""The kill switch's three levels, named by what they block. Reducing orders pass at every level."""

from enum import StrEnum


class KillLevel(StrEnum):
    """The kill switch's levels, mildest first. Each does what those before it do."""

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
