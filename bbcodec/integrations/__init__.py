"""bbcodec where others read and write: chunks of zarr arrays, images of Pillow, files of a folder."""
