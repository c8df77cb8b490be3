"""TIFF's LZW and PackBits streams, taken apart and made again bit for bit as libtiff makes them."""
