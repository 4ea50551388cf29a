"""Mutation testing: change one thing in the code that decides about money, and see whether a test fails.

`targets` names the modules, `operators` writes the mutants, `session` runs the tests against each of them in a forked
process, `report` counts. A mutant that no test can kill stands in `equivalents.toml` with the reason.
"""
