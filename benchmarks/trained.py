"""Every trained codec on test images that it has not seen: the theory, the bytes, and what papers tell.

    python benchmarks/trained.py --data PREPARED [--only NAME...]

PREPARED is what benchmarks/prepare.py wrote. Each codec is measured by `bbcodec evaluate` with default settings on the
whole test set, as one array; benchmarks/classical.py has the classical codecs. Rows that are not measured now stay as
they are in the result.
"""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common import PLACES, arguments, bbcodec, command, environment, needed, trained_codec

from bbcodec.codec.catalogue import CodecFile
from bbcodec.codec.stored import StoredCodec
from bbcodec.report.evaluate import embedded_bytes

BINARISED = "binarised with numpy.random.default_rng(0)"


@dataclass(frozen=True)
class Figure:
    """A figure of somebody else's: what, its value, its unit (`bits/dim` or `nats`, of an image), where from."""

    what: str
    value: float
    unit: str
    source: str


@dataclass(frozen=True)
class Entry:
    """A codec, its test images, and what it is compared with. note: where data or protocol differ from the papers'."""

    codec: str
    test: str
    data: str
    figures: tuple[Figure, ...] = ()
    note: str = ""
    iwae: int = 100


VLAE, DELTA = "VLAE (Chen et al. 2017)", "delta-VAE (Razavi et al. 2019)"
ATTENTIVE = "attentive VAE (Apostolopoulou et al. 2022)"
VAMP = "VampPrior (Tomczak & Welling 2018)"

MNIST_BOUNDS = (
    Figure("craystack", 0.1979, "bits/dim", "its own example of bits-back coding, at batch 1"),
    Figure("VLAE, IWAE bound", 78.53, "nats", VLAE),
    Figure("PixelHVAE with VampPrior, IWAE bound", 78.45, "nats", VAMP),
    Figure("attentive VAE, IWAE bound", 77.63, "nats", ATTENTIVE),
)
BINARY_DIGITS = ("mnist-binary-3", "mnist-binary-delta-vae-2", "mnist-binary-vamp-3", "mnist-binary-attentive-3")
OTHER_DRAWS = "the papers' bounds have 5,000 draws and other random binarisations"
CALTECH_BOUNDS = (
    Figure("VLAE, IWAE bound", 77.36, "nats", VLAE),
    Figure("PixelHVAE, standard prior, IWAE bound", 85.51, "nats", VAMP),
    Figure("PixelHVAE with VampPrior, IWAE bound", 86.22, "nats", VAMP),
)
SILHOUETTES = "Caltech-101 silhouettes, the published test split"
FREY_BOUNDS = (Figure("PixelHVAE with VampPrior, IWAE bound", 4.38, "bits/dim", VAMP),)
OTHER_SPLIT = "a random split 1,565 / 200 / 200 of ours; the paper's figure is over three of its own"

CIFAR_FIGURES = (
    Figure("Bit-Swap", 3.82, "bits/dim", "Kingma et al. 2019"),
    Figure("HiLLoC", 3.56, "bits/dim", "Townsend et al. 2020"),
    Figure("LBB", 3.12, "bits/dim", "Ho et al. 2019"),
    Figure("VLAE", 2.95, "bits/dim", VLAE),
    Figure("delta-VAE", 2.83, "bits/dim", DELTA),
    Figure("attentive VAE", 2.79, "bits/dim", ATTENTIVE),
)
OTHER_HOURS = (
    "20 of the 10,000 test images are missing here; the last three figures are bounds after hundreds of hours on "
    "accelerators, not files"
)

ENTRIES = (
    *(
        Entry(name, "cifar10_test.npy", "CIFAR-10 test, 9,980 of 10,000 images", CIFAR_FIGURES, OTHER_HOURS, iwae=iwae)
        for name, iwae in (("cifar10-4", 0), ("cifar10-delta-vae-1", 100), ("cifar10-attentive-2", 100))
    ),
    Entry(
        "mnist-2",
        "mnist_test.npy",
        "MNIST test, 8-bit",
        (
            Figure("BB-ANS", 1.41, "bits/dim", "Townsend et al. 2019"),
            Figure("Bit-Swap", 1.27, "bits/dim", "Kingma et al. 2019"),
        ),
    ),
    *(
        Entry(name, "mnist_binary_test.npy", f"MNIST test, {BINARISED}", MNIST_BOUNDS, OTHER_DRAWS, iwae=1000)
        for name in BINARY_DIGITS
    ),
    Entry(
        "omniglot-binary-2",
        "omniglot28_binary_test.npy",
        f"Omniglot test, 28 x 28 by box averages, {BINARISED}",
        note="not the 28 x 28 file of the papers, so their nats do not compare",
    ),
    *(
        Entry(name, "caltech101_test.npy", SILHOUETTES, CALTECH_BOUNDS, iwae=1000)
        for name in ("caltech101-2", "caltech101-vamp-2", "caltech101-attentive-2")
    ),
    *(
        Entry(name, "freyfaces_test.npy", "Frey faces, 200 test images", FREY_BOUNDS, OTHER_SPLIT, iwae=1000)
        for name in ("freyfaces-2", "freyfaces-vamp-2")
    ),
    Entry("microscopy-2", "microscopy_test.npy", "microscopy (DSB 2018), 60 test images of 256 x 256"),
    Entry("grey-3", "microscopy_test.npy", "microscopy (DSB 2018), 60 test images of 256 x 256", iwae=0),
)


def measure(entry: Entry, path: Path, codec: CodecFile, prepared: Path) -> dict[str, Any]:
    """The row of a codec."""
    words = ("--json", "--iwae", str(entry.iwae), "--jobs", "2", "--no-peers")
    told, seconds = bbcodec("evaluate", path, needed(prepared / entry.test), *words)
    report = json.loads(told)
    excess = 100 * (8 * report["file_bytes"] / report["dims"] / report["negative_elbo_bits_per_dim"] - 1)
    card = dict(codec.card)
    return {
        "codec": entry.codec,
        "model": codec.family,
        "network": network(codec),
        "parameters": card.get("parameters"),
        "trained": {key: card[key] for key in ("data", "minutes", "device", "began_with") if key in card},
        "test": entry.data,
        "images": report["images"],
        "learned_images": report["learned_images"],
        "negative_elbo_bits_per_dim": round(report["negative_elbo_bits_per_dim"], 5),
        "negative_elbo_nats_per_image": round(report["nats_per_image"]["negative_elbo"], 3),
        "iwae": report["iwae"],
        "iwae_bits_per_dim": report["iwae_bits_per_dim"] and round(report["iwae_bits_per_dim"], 5),
        "iwae_nats_per_image": round(report["nats_per_image"][f"iwae_{entry.iwae}"], 3) if entry.iwae else None,
        "file_bytes": report["file_bytes"],
        "measured_bits_per_dim": round(report["measured_bits_per_dim"], 5),
        "file_over_negative_elbo_percent": round(excess, 3),
        "chain": report["chain"],
        "layers": report["layers"],
        "seconds": round(seconds, 1),
        "environment": environment(),
    }


def network(codec: CodecFile) -> str:
    """A digest of what a codec computes, whatever the format of its file."""
    stored = StoredCodec.read(codec)
    about = hashlib.blake2b(json.dumps([stored.family, stored.config], sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(stored.tensors.items()):
        about.update(f"{name} {tensor.dtype} {tensor.shape}".encode() + tensor.tobytes())
    return about.hexdigest()


def with_figures(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows in order, with what needs no measuring: sizes of codecs, and what others tell of the data."""
    found = []
    for entry in ENTRIES:
        codec = trained_codec(entry.codec)
        if entry.codec in rows and codec is not None and rows[entry.codec]["network"] == network(codec[1]):
            sizes = {"codec_file_bytes": len(codec[1].content), "codec_chunk_bytes": embedded_bytes(codec[1])}
            figures = [asdict(figure) for figure in entry.figures]
            found.append(
                {
                    **rows[entry.codec],
                    "test_file": entry.test,
                    **sizes,
                    "figures_of_others": figures,
                    "note": entry.note,
                }
            )
    return found


def main() -> None:
    """Measure, and write the result after each row."""
    parser = arguments(__doc__, "trained")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="codecs to measure (all that are there)")
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    if options.out.exists():
        rows = {row["codec"]: row for row in json.loads(options.out.read_text(encoding="utf-8"))["rows"]}
    known = [entry.codec for entry in ENTRIES]
    for name in options.only or []:
        if name not in known:
            sys.exit(f"{name} has no entry: one of {', '.join(known)}")
    for entry in ENTRIES:
        found = trained_codec(entry.codec)
        if found is None:
            rows.pop(entry.codec, None)
            if options.only and entry.codec in options.only:
                sys.exit(f"there is no codec {entry.codec} in {' or '.join(place.name for place in PLACES)}")
            continue
        if options.only and entry.codec not in options.only:
            continue
        rows[entry.codec] = measure(entry, *found, options.data)
        options.only, chosen = None, options.only  # the command that is recorded makes all rows
        record = {
            "command": command(options, parser, "PREPARED"),
            "data": "test images as benchmarks/prepare.py writes them",
            "environment": environment(),
            "rows": with_figures(rows),
        }
        options.only = chosen
        options.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        print(f"{entry.codec}: {rows[entry.codec]['measured_bits_per_dim']} bits/dim, {rows[entry.codec]['seconds']} s")


if __name__ == "__main__":
    main()
