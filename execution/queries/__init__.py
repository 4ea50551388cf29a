"""Questions to the books, one file a subject, for API, admin, journal and metrics. Nothing here writes."""
