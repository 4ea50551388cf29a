"""Pure rules of trading: standard library only, no I/O, no framework."""
