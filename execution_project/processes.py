"""What a process of ours asks of the operating system."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends; elsewhere the parent's clean stop has to do."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died between our fork and the call above: then the signal would never come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
