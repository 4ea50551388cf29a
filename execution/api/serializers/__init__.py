"""The shapes of the answers, one file a noun."""
