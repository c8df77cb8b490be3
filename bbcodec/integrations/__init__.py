"""bbcodec in the formats of others: chunks of zarr arrays."""
