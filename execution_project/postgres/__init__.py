"""Django's backend for PostgreSQL with bounded waits; named by `ENGINE` in the settings."""
