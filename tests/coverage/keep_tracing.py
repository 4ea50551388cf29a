"""Pytest plugin: sets coverage.py's trace function again after a test that has cost it.

CPython drops a thread's trace function when calling it fails, as it does at the recursion limit: a test that sends
JSON of a thousand brackets would end the measurement of its process.
"""

import sys
from typing import Any

import pytest

_tracer: Any = sys.gettrace()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    if sys.gettrace() is not _tracer:
        sys.settrace(_tracer)
