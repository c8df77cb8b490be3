"""From an archive to files."""
