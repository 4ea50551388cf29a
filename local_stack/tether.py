"""Becomes another program that ends with its parent: `python -I -S tether.py PARENT SIGNAL IDENTITY program arg...`.

A wrapper instead of `preexec_fn`, which is unsafe beside threads. It imports the standard library only, because it runs
before each child and must cost little. IDENTITY is `same`, `namespace` (root that looks like an ordinary user to the
program, because PostgreSQL refuses root) or `nobody` (the user of that name).
"""

import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1
NOT_PERMITTED = 77
OVERFLOW_ID = 65534
# Loaded as root: `nobody` may not be able to read the interpreter's own modules.
LIBC = ctypes.CDLL(None, use_errno=True)


def enter_user_namespace() -> None:
    """Map root outside to an ordinary user inside: files stay root's, and no user or file mode changes."""
    clone_new_user = 0x10000000
    user, group = os.geteuid(), os.getegid()
    if LIBC.unshare(clone_new_user) != 0:
        raise PermissionError(ctypes.get_errno(), "user namespaces are not permitted here")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{OVERFLOW_ID} {group} 1")
    Path("/proc/self/uid_map").write_text(f"{OVERFLOW_ID} {user} 1")


def become_nobody() -> None:
    import pwd  # noqa: PLC0415 - only this identity needs it

    entry = pwd.getpwnam("nobody")
    os.setgroups([])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)


def die_with_parent(parent: int, death_signal: int) -> None:
    """Ask Linux to send `death_signal` when the thread that started us ends; elsewhere the next start cleans up."""
    if sys.platform != "linux":
        return
    LIBC.prctl(PR_SET_PDEATHSIG, death_signal)
    # The parent may have died before the line above took effect; then nobody will ever signal us.
    if os.getppid() != parent:
        sys.exit(0)


def main(parent: str, death_signal: str, identity: str, *command: str) -> None:
    try:
        if identity == "namespace":
            enter_user_namespace()
        elif identity == "nobody":
            become_nobody()
    except OSError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the parent reads it
        sys.exit(NOT_PERMITTED)
    # After the change of identity: the kernel forgets the request when credentials change.
    die_with_parent(int(parent), int(death_signal))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.execvp(command[0], command)  # noqa: S606 - becoming the given program is this module's purpose


if __name__ == "__main__":
    main(*sys.argv[1:])
