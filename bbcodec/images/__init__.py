"""Image files and their samples: which files can be restored from samples alone, and how samples are stored.

`samples`: arrays of samples. `formats`: file forms, how files are taken apart and joined. `image_files`,
`large_images`: the same in memory and in bands, tried before it is relied on. `npy`: array files. `planes`: samples as
planes.
`codings`: how planes are stored. `probe`, `pillow`: what Pillow sees, under guard. `display`: what people see.
"""
