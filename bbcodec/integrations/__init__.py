"""bbcodec where others read and write: arrays of zarr, images of Pillow, files of a folder, rows of data sets."""
