"""The environment of programs that run nothing of the service: coverage.py would only slow them down."""

import os

# By which coverage.py starts in a child process.
MEASURED = "COVERAGE_PROCESS_CONFIG"


def unmeasured_environment() -> dict[str, str]:
    """Return this process's environment, without what starts coverage.py in a child."""
    return {name: value for name, value in os.environ.items() if name != MEASURED}
