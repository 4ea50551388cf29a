"""The local stack: all that the service needs, on one machine, for `make run`, `make demo` and the tests."""
