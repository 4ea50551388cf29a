"""Finds the system's Chromium; with `--install-browser` apt brings it, because Playwright's own is never downloaded."""

import os
import shutil
import subprocess
import sys

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PACKAGES = ("chromium", "fonts-liberation")
LONGEST_INSTALL_SECONDS = 600


class NoBrowserError(Exception):
    """There is no Chromium; the message says how to get one."""


def chromium(*, may_install: bool) -> str:
    """Return the path of the system's Chromium.

    Raises:
        NoBrowserError: there is none, and it may not or cannot be installed.

    """
    if not _found() and may_install:
        _install()
    path = _found()
    if path is None:
        raise NoBrowserError(
            f"No Chromium on the PATH (looked for {', '.join(NAMES)}). "
            f"On Debian: apt-get install --no-install-recommends {' '.join(PACKAGES)}, or ARGS=--install-browser."
        )
    return path


def _found() -> str | None:
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _install() -> None:
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    missing = [name for name in (*rights[:1], "apt-get") if shutil.which(name) is None]
    if missing:
        raise NoBrowserError(f"No Chromium, and no {' and no '.join(missing)} to install it with.")
    sys.stderr.write(f"Installing {' '.join(PACKAGES)} by apt (about 115 MB) ...\n")
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]):
        command = [*rights, "apt-get", *arguments]
        try:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=LONGEST_INSTALL_SECONDS)
        except subprocess.SubprocessError as error:
            raise NoBrowserError(f"No Chromium, and apt could not install it: {error}") from error
