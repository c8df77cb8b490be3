"""From files to an archive.

`scan`: finds files. `tasks`: what is coded in one go. `encode`: the work on one task, in any process. Storage forms
are chosen in `image_storage` (image files), `image_tiles` (large images), `array_parts` (arrays) and `byte_parts` (the
rest), from the ways to store images that `candidates` gives. `coded`: what coding gives. `writer`: the archive.
"""
