"""The benchmark, `make bench`: figures of the running service, held against bounds. Not collected as tests."""
