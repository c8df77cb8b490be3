"""The bytes of an archive: chunks, index, tiles (`docs/format.md`)."""
