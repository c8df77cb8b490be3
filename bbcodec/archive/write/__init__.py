"""From files to an archive."""
