"""The shipped codecs: one .bbc file and one card each."""
