"""The dashboard in a browser, before the running service and its paper exchange."""
