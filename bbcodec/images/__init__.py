"""Image files and their samples: which files can be given back from samples alone, and how.

`kinds` says what samples are; `png`, `webp` and `raw` know the files; `pictures` takes files apart and joins them;
`large` does so for images that do not fit into memory twice; `planes` and `classical` turn samples into what is coded;
`shown` turns them into what people see.
"""

from bbcodec.images.codings import decode_alone, decode_together, encode_alone, encode_together
from bbcodec.images.display import converted, image_shown, samples_shown
from bbcodec.images.formats.png import decode_png, encode_png, write_png
from bbcodec.images.formats.webp import decode_webp, encode_webp
from bbcodec.images.image_files import Picture, join_bands, join_image, palette, split_image
from bbcodec.images.large_images import split_large
from bbcodec.images.planes import PLANE_LAYOUTS, from_planes, plane_shapes, to_planes, ways
from bbcodec.images.probe import Probe, probe
from bbcodec.sample_formats import SAMPLE_FORMATS, Bytes, SampleFormat, Samples

__all__ = [
    "PLANE_LAYOUTS",
    "SAMPLE_FORMATS",
    "Bytes",
    "Picture",
    "Probe",
    "SampleFormat",
    "Samples",
    "converted",
    "decode_alone",
    "decode_png",
    "decode_together",
    "decode_webp",
    "encode_alone",
    "encode_png",
    "encode_together",
    "encode_webp",
    "from_planes",
    "image_shown",
    "join_bands",
    "join_image",
    "palette",
    "plane_shapes",
    "probe",
    "samples_shown",
    "split_image",
    "split_large",
    "to_planes",
    "ways",
    "write_png",
]  # fmt: skip
