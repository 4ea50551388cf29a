"""What a process of ours asks of the operating system and of the interpreter."""

import ctypes
import gc
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
# New objects between two looks for cycles. Loading our code makes 500,000 and hardly any garbage: by Python's 700, a
# fifth of a start went into looking for it.
NEW_OBJECTS = 20_000


def collect_seldom() -> None:
    """Look for garbage less often than Python does by default; call it before anything large is imported."""
    gc.set_threshold(NEW_OBJECTS)


def keep_what_is_loaded() -> None:
    """Leave what is loaded out of every later look for garbage: it stays, and forked children share its memory."""
    gc.collect()
    gc.freeze()


def end_with_parent() -> None:
    """Ask Linux to kill this process when its parent ends; elsewhere the parent's clean stop has to do."""
    if not sys.platform.startswith("linux"):
        return
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    # The parent may have died between our fork and the call above: then the signal would never come.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
