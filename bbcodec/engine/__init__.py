"""The compiled engine: the same whole numbers as the layers of `bbcodec.exact`, wave by wave in one call on a CPU."""
