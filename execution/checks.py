"""Start-up checks: settings that could lose a task or expose the service refuse to start."""
