"""Attacks on the running service, one test a line of docs/security.md: the refusal, and that trading went on."""
