"""Names and buckets of the metrics that sum over all processes and restarts."""

from bisect import bisect_left
from dataclasses import dataclass

REPAIRS = "repairs"
# The last bucket of every histogram.
BEYOND = "+Inf"


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """A length of time in seconds, counted by how long it was."""

    name: str
    bounds: tuple[str, ...]

    def bucket_of(self, seconds: float) -> str:
        """Return the upper bound, inclusive, of the bucket that a length belongs in."""
        place = bisect_left([float(bound) for bound in self.bounds], seconds)
        return self.bounds[place] if place < len(self.bounds) else BEYOND


COVER_BOUNDS = ("0.025", "0.05", "0.1", "0.15", "0.25", "0.5", "1.0", "2.0", "5.0", "10.0", "15.0", "30.0", "60.0")
FILL_TO_STOP = Histogram(name="fill_to_stop", bounds=COVER_BOUNDS)
UNCOVERED = Histogram(name="uncovered", bounds=COVER_BOUNDS)
STREAM_LAG = Histogram(
    name="stream_lag", bounds=("0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "10.0")
)
CYCLE = Histogram(name="cycle", bounds=("0.05", "0.1", "0.25", "0.5", "1.0", "2.0", "5.0", "10.0", "30.0"))
