"""Set when this web process is to end: what holds a thread for long ends then by itself."""

from threading import Event

STOPPING = Event()
