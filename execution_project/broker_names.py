"""What Celery's things are called in Redis: names that no other Celery application on the same database has.

Celery's own names are the same for everybody: queue keys without a prefix, one exchange for control, one for events,
one hash of unacknowledged messages. Two applications that share a database would run each other's tasks, hand back each
other's messages and obey each other's `shutdown`. People see the queues as orders, monitor, protect and bridge still.
"""

# In front of every key and channel of the broker. Not below `execution:`, which is the user's of the shared state.
KEY_PREFIX = "execution-broker:"
# Exchanges of remote control (off, and nobody else's all the same) and of the events that Flower shows.
CONTROL_EXCHANGE = "execution-control"
EVENT_EXCHANGE = "execution-events"
