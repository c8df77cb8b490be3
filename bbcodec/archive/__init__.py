"""Archives: their format, how they are written, how they are read."""
