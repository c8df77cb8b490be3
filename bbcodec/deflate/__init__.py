"""zlib's deflate, again: a stream is taken apart into what it holds and how it was made, and made again bit for bit.

Nothing here depends on the zlib of a machine. `recipe.py` is what others use.
"""
