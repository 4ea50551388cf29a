"""Read-only questions to the books, one file a subject, for API, admin, commands and health."""
