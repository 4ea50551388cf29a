"""What is agreed about the streams of the event bus, whoever writes or reads them."""

# The length that the system's own bus keeps of each stream, approximately: older entries are gone.
STREAM_LENGTH = 10_000
