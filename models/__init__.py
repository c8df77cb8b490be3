"""The model families, their training, and the shipped codecs."""
