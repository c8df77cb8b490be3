"""Image file formats, one a module."""
