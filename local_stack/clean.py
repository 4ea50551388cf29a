"""`make clean`: deletes the local stack's state, unless a stack runs on it."""

import sys

from local_stack.lease import InUseError, Lease
from local_stack.settings import STATE
from local_stack.stack import remove_state


def main() -> int:
    if not STATE.exists():
        return 0
    try:
        lease = Lease.take(STATE / "stack.lease")
    except InUseError:
        print("The stack is running on this state: stop it first.", file=sys.stderr)  # noqa: T201 - a command speaks
        return 1
    remove_state(STATE)
    lease.release()
    return 0


if __name__ == "__main__":
    sys.exit(main())
