"""Render benchmarks/results/*.json into docs/results.md and the tables of README.md, between two markers each.

python benchmarks/readme_table.py            # write
python benchmarks/readme_table.py --check    # exit with status 1 if a page says something else
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cluster_tables import clusters
from folder_tables import (
    adapting,
    folders,
    jpegs,
    large,
    loaders,
    many,
    mixing,
    pngs,
    remote,
    sixteen_bits,
    tiffs,
    zarr_arrays,
)
from model_tables import ablations, curves, families, latents, training_steps
from reliability_tables import fuzzing, reliability
from speed_tables import (
    device,
    engine,
    frontier,
    named,
    profile,
    scaling,
    speed,
    thread_counts,
    two_digits,
    two_ways,
    with_options,
)

HERE = Path(__file__).resolve().parent
START, END = "<!-- results: rendered by benchmarks/readme_table.py -->", "<!-- end of results -->"

Result = dict[str, Any]


def source(name: str, result: Result) -> str:
    """The line under a table: command, data, machine, file."""
    rows = result["rows"] if isinstance(result.get("rows"), list) else []
    environments = [row["environment"] for row in rows if "environment" in row] or [result["environment"]]
    machines = " and ".join(dict.fromkeys(machine(one) for one in environments))  # rows differ in their machines
    return f"`{result['command']}` ({result['data']}; {machines}) -> `benchmarks/results/{name}.json`"


def machine(environment: Result) -> str:
    """A machine and its torch."""
    return f"{environment['cpu']}, {environment['cores']} cores, torch {environment['versions']['torch']}"


def kodak(result: Result) -> Iterator[str]:
    """Sizes of the photos."""
    ours = result["bbcodec"]
    learned, files = ours["stored_as"].get("learned", 0), sum(ours["stored_as"].values())
    yield "| Kodak, 24 photos | bytes | bits/dim |"
    yield "| --- | ---: | ---: |"
    for key, name in FORMATS.items():
        peer = result["peers"].get(key)
        if peer is not None:
            yield f"| {name} | {peer['bytes']:,} | {peer['bits_per_dim']:.3f} |"
    yield f"| **bbcodec**, one archive | **{ours['archive_bytes']:,}** | **{ours['bits_per_dim']:.3f}** |"
    yield ""
    yield f"A learned codec stores {learned} of {files} photos, predictions that learn as they go the others."


FORMATS = {
    "png_as_they_come": "PNG, files as they come",
    "webp_m6": "WebP lossless, m6",
    "webp_m6_q100": "WebP lossless, m6, quality 100",
    "jpegxl_e7": "JPEG XL lossless, e7",
    "jpegxl_e9": "JPEG XL lossless, e9",
}


ADAPTED = {"kodak, mixed": " --mix"}  # rows of adapting.json, and further options of their command


def photos(kodak: Result, speed: Result, published: Result, sets: Result) -> Iterator[str]:
    """README's table: sizes and speeds side by side, longest files first."""
    ours = kodak["bbcodec"]
    dims = round(8 * ours["archive_bytes"] / ours["bits_per_dim"])
    threads = thread_counts(speed)
    rows: list[tuple[int, str, bool, list[str]]] = []  # bytes, name, whether it is ours, rates
    for key in ("png_as_they_come", "webp_m6", "jpegxl_e7", "jpegxl_e9"):
        rates = speed["peers"].get(key.removesuffix("_as_they_come"), {"by_threads": {}})["by_threads"]
        ways = ("", "decode") if key == "png_as_they_come" else ("encode", "decode")  # others wrote these files
        rows.append((kodak["peers"][key]["bytes"], FORMATS[key], False, two_ways(rates, threads, *ways)))
    for words, one in speed["commands"].items():
        cells = two_ways(one["by_threads"], threads, "compress", "decompress")
        rows.append((one["archive_bytes"], f"bbcodec, {with_options(words)}", True, cells))
    for words, row in ((word, sets[name]) for name, word in ADAPTED.items() if name in sets):
        after, minutes = row["adapted"], row["minutes"]
        told = [two_digits(dims / 1e6 / after[way]) for way in ("seconds", "seconds_decompress")]
        name = f"bbcodec, `photo-3`, `--adapt {minutes}{words}` \\*\\*"
        rows.append((after["bytes"], name, True, [""] * (2 * len(threads) - 2) + told))
    for row in published["rows"]:
        told = [two_digits(dims / 1e6 / row["seconds"][way]) for way in ("encode", "decode")]
        rows.append((row["bytes"], f"{row['codec']} \\*", False, told + [""] * (2 * len(threads) - 2)))
    yield "| Kodak, 24 photos | bits/dim | bytes |" + "".join(f" MB/s in, {named(count)} | out |" for count in threads)
    yield "| --- | ---: | ---: |" + " ---: | ---: |" * len(threads)
    for size, name, mine, cells in sorted(rows, key=lambda row: -row[0]):
        told = [name, f"{8 * size / dims:.3f}", f"{size:,}", *cells]
        yield "| " + " | ".join(f"**{cell}**" if mine and cell else cell for cell in told) + " |"
    yield ""
    minutes = sets["kodak, mixed"]["minutes"]
    note = f"\\*\\* After {minutes} minutes of learning from these very photos; what it learned is counted."
    yield " ".join([*photo_notes(speed, threads), published_note(published), note])


def photo_notes(speed: Result, threads: list[str]) -> Iterator[str]:
    """What the rates are, and what the check of the result costs."""
    environment = speed["environment"]
    yield (
        f"MB/s of raw pixels on {environment['cores']} cores of an {environment['cpu']} with the instructions "
        f"{speed['kernels']}, with start-up for bbcodec. {FASTER.get(speed['kernels'], '')}Unless told otherwise it "
        "also decodes what it wrote before it reports success; it then compresses, in MB/s,"
    )
    told = []
    for words, one in speed["commands"].items():
        checked = [(count, one["by_threads"].get(count, {}).get("compress_checked")) for count in threads]
        rates = [f"{two_digits(rate)} with {named(count)}" for count, rate in checked if rate]
        told.append(f"{with_options(words)} at {', '.join(rates)}")
    yield f"{'; '.join(told)}."


# By benchmarks/engine.py, whose table is on the results page.
FASTER = {"avx2": "Codecs are two to four times as fast with AVX512-VNNI. "}


def published_note(published: Result) -> str:
    """Where the rows with an asterisk come from."""
    link = f"[{published['source'].removeprefix('https://github.com/')}]({published['source']})"
    return f"\\* Published for another machine ({published['machine']}): {link}."


OWN_CODECS = {"cifar10-4": "CIFAR-10", "mnist-2": "MNIST, 8-bit", "microscopy-2": "microscopy"}
WRITE_FILES = {"BB-ANS", "Bit-Swap", "HiLLoC", "LBB"}  # figures of others that are sizes of files, not bounds


def own_codecs(trained: Result) -> Iterator[str]:
    """README's second table: codecs trained for a collection."""
    yield "| test images | best classical | **bbcodec** | published, learned | codec pays for itself from |"
    yield "| --- | ---: | ---: | --- | ---: |"
    for row in trained["rows"]:
        if row["codec"] not in OWN_CODECS:
            continue
        best = best_peer(trained["classical"][row["test_file"]])
        if best is None:
            continue
        others = [one for one in row["figures_of_others"] if one["what"] in WRITE_FILES]
        told = ", ".join(f"{one['what']} {one['value']:g}" for one in others)
        yield (
            f"| {OWN_CODECS[row['codec']]} | {best['bits_per_dim']:.3f} | **{row['measured_bits_per_dim']:.3f}** | "
            f"{told} | {pays_after(row, best):,} images |"
        )


def mnist_binary(result: Result) -> Iterator[str]:
    """The file against the theory."""
    yield "| binarised MNIST test | bits/dim |"
    yield "| --- | ---: |"
    yield f"| negative ELBO of the codec | {result['negative_elbo_bits_per_dim']:.4f} |"
    yield f"| **file on disk** ({result['file_bytes']:,} bytes) | **{result['file_bits_per_dim']:.4f}** |"
    alone = result["one_image_alone"]
    yield ""
    yield (
        f"The file is {result['excess_percent']:+.2f} % from the negative ELBO. One image alone takes "
        f"{alone['mean_message_bytes']:.1f} bytes for {alone['mean_information_bytes']:.1f} bytes of information."
    )


def determinism(result: Result) -> Iterator[str]:
    """Whether archives travel."""
    pairs, messages = result["decoded_right"], max(result["distinct_messages"].values())
    yield (
        f"{len(result['settings'])} settings of threads, kernels, instruction sets and precision: {messages} distinct "
        f"message for every batch, where an ordinary float network gives "
        f"{result['distinct_results_of_a_float_network']} different results; {pairs['pairs']} of {pairs['of']} pairs "
        "of encoder and decoder restore every pixel. Codecs: "
        f"{', '.join(f'`{name}`' for name in result['codecs'].values())}."
    )
    if not any(name.startswith("engine") for name in result["settings"]):
        yield ""
        yield "By an earlier version, before there was an engine to compare; some of these codecs have been replaced."


def trained(result: Result) -> Iterator[str]:
    """Every codec on its test images: a row each, and notes below."""
    yield "| test images | codec | negative ELBO | IWAE | **file** | over the ELBO | best classical | others |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    first = {row["test"]: row["codec"] for row in reversed(result["rows"])}  # its row has what concerns the images
    for row in result["rows"]:
        bound = f"{row['iwae_bits_per_dim']:.4f}" if row["iwae_bits_per_dim"] else ""
        figures = "; ".join(f"{one['what']} {one['value']:g}{nats(one)}" for one in row["figures_of_others"])
        measured = f"{row['negative_elbo_bits_per_dim']:.4f} | {bound} | **{row['measured_bits_per_dim']:.4f}**"
        over = f"{row['file_over_negative_elbo_percent']:+.2f} %"
        peer = peer_cell(best_peer(result["classical"].get(row["test_file"])))
        test, peer, figures = (row["test"], peer, figures) if first[row["test"]] == row["codec"] else ("", "", "")
        yield f"| {test} | {row['codec']} | {measured} | {over} | {peer} | {figures} |"
    yield ""
    yield (
        "Bits/dim. The file is a whole archive, without the codec. Best classical: the shortest of PNG, WebP, JPEG XL, "
        "contact sheets of them, and an archive without a codec (`benchmarks/classical.py`)."
    )
    for row in result["rows"]:
        note = row["note"] if first[row["test"]] == row["codec"] else ""
        yield ""
        yield codec_note({**row, "note": note}, best_peer(result["classical"].get(row["test_file"])))


def nats(figure: Result) -> str:
    """The unit of a figure, where it is not bits/dim."""
    return " nats" if figure["unit"] == "nats" else ""


def best_peer(classical: Result | None) -> Result | None:
    """The shortest classical form of the images of a row."""
    known = [peer for peer in (classical or {}).get("peers", ()) if peer["bytes"] and peer["key"] != "inputs"]
    if classical is None or not known:
        return None
    best = min(known, key=lambda peer: peer["bytes"])
    return {**best, "bits_per_dim": 8 * best["bytes"] / classical["dims"]}


def peer_cell(peer: Result | None) -> str:
    """A classical form in the table."""
    if peer is None:
        return ""
    return f"{peer['bits_per_dim']:.3f} ({peer['label']}{', estimated' if peer['estimated'] else ''})"


def codec_note(row: Result, peer: Result | None) -> str:
    """How a codec was trained, its bounds in nats, and when it pays for itself."""
    trained = row["trained"]
    start = f", from {trained['began_with'].partition(',')[0]}" if "began_with" in trained else ""
    words = [
        f"`{row['codec']}`: {row['model']}, {row['parameters']:,} parameters, {row['codec_file_bytes']:,} bytes; "
        f"trained {trained['minutes']:g} minutes on {trained['device']}{start}."
    ]
    if row["iwae_nats_per_image"]:
        words.append(
            f"Negative ELBO {row['negative_elbo_nats_per_image']:.2f}, IWAE ({row['iwae']['draws']:,} draws, "
            f"{row['iwae']['images']:,} images) {row['iwae_nats_per_image']:.2f} nats an image."
        )
    if peer is not None and peer["bytes"] > row["file_bytes"]:
        words.append(f"With the codec embedded, an archive is the shortest from {pays_after(row, peer):,} images on.")
    return " ".join(words) + (f" {row['note'][0].upper()}{row['note'][1:]}." if row["note"] else "")


def pays_after(row: Result, peer: Result) -> int:
    """Images after which an archive with its codec is shorter than the best classical form."""
    return int(-(-row["codec_chunk_bytes"] * row["images"] // (peer["bytes"] - row["file_bytes"])))


def presets(result: Result) -> Iterator[str]:
    """What the presets of `bbcodec train` reach in the same time."""
    yield "| images | preset | parameters | images/s trained | MB/s coded | bits/dim | WebP | JPEG XL |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        rates = f"{row['images_per_second']:.0f} | {row['coded_mb_per_second']:.2f} | **{row['bits_per_dim']:.4f}**"
        peers = " | ".join(f"{row['peers'].get(key) or math.nan:.4f}" for key in ("webp", "jpegxl"))
        preset = f"{row['preset']}{' *' if row['busy'] else ''}{' †' if row.get('nets') == 'gated' else ''}"
        yield f"| {row['test']} | {preset} | {row['parameters']:,} | {rates} | {peers} |"
    yield ""
    if any(row["busy"] for row in result["rows"]):
        yield "\\* The machine was busy: fewer training steps, and lower speeds, than it could have done."
    if any(row.get("nets") == "gated" for row in result["rows"]):
        yield "† By an earlier version, whose presets made gated nets of 12 bits; nothing was tried first."
    yield f"After {result['minutes']:g} minutes of training each. Bits/dim of whole archives, without the codec."


def roundtrips(result: Result) -> Iterator[str]:
    """Every family on every set."""
    rows = {(row["set"], row["family"]): row for row in result["rows"]}
    families = list(dict.fromkeys(row["family"] for row in result["rows"]))
    yield f"| messages that restore every pixel | {' | '.join(families)} |"
    yield f"| --- |{' ---: |' * len(families)}"
    refused: dict[str, str] = {}
    for name in dict.fromkeys(row["set"] for row in result["rows"]):
        cells = []
        for family in families:
            row = rows[name, family]
            if "refused" in row:
                refused[f"{name}, {family}"] = row["refused"].removeprefix("bbcodec: ")
            cells.append("does not fit" if "refused" in row else f"{row['same']} of {row['messages']}")
        yield f"| {name} | {' | '.join(cells)} |"
    yield ""
    yield "Codecs trained for a few seconds; decoded in another process, with another number of threads."
    for name, why in refused.items():
        yield ""
        yield f"{name}: {why}."


SECTIONS: dict[str, tuple[str, Callable[[Result], Iterator[str]]]] = {
    "kodak": ("Photos", kodak),
    "kodak_8bit": ("Photos, with an 8-bit net and its codec in the archive", kodak),
    "trained": ("Codecs of data sets", trained),
    "presets": ("Twenty minutes of training", presets),
    "training_steps": ("A training step", training_steps),
    "adapting": ("Codecs that learn from a folder first", adapting),
    "mixing": ("Codecs that learn while they code", mixing),
    "folders": ("Folders of any files", folders),
    "jpegs": ("JPEG files", jpegs),
    "pngs": ("PNG files byte for byte", pngs),
    "tiffs": ("TIFF and DICOM files", tiffs),
    "sixteen_bits": ("Grey images of 9 to 16 bits", sixteen_bits),
    "many": ("Many small images", many),
    "remote": ("Many small images at a URL", remote),
    "zarr_arrays": ("Arrays of zarr", zarr_arrays),
    "loaders": ("Training loops", loaders),
    "clusters": ("On a cluster", clusters),
    "large": ("A large image", large),
    "speed": ("Speed", speed),
    "profiling": ("Where the time of a command goes", profile),
    "engine": ("The compiled engine", engine),
    "scaling": ("Time and memory as images grow", scaling),
    "frontier": ("Which local net", frontier),
    "device": ("On an accelerator", device),
    "determinism": ("The same bits everywhere", determinism),
    "mnist_binary": ("From the bound to the file", mnist_binary),
    "families": ("The model families", families),
    "latents": ("What latents know", latents),
    "curves": ("Training curves", curves),
    "roundtrips": ("Every family on every data set", roundtrips),
    "ablations": ("Ablations", ablations),
    "reliability": ("Damage, strangers, full disks, kills", reliability),
    "fuzzing": ("Fuzzing", fuzzing),
}


def read(results: Path, name: str) -> Result:
    """A result; with the codecs of data sets, their classical forms."""
    result: Result = json.loads((results / f"{name}.json").read_text(encoding="utf-8"))
    if name == "trained":
        result["classical"] = {row["test"]: row for row in read(results, "classical")["rows"]}
    return result


def overview(results: Path) -> str:
    """README's tables."""
    kodak, speed, published, trained = (read(results, name) for name in ("kodak", "speed", "published", "trained"))
    text = "A codec trained on images like those it will store does far better on them than a general one (bits/dim):"
    sets = read(results, "adapting")["sets"]
    return "\n".join([*photos(kodak, speed, published, sets), "", text, "", *own_codecs(trained)])


def sections(results: Path) -> str:
    """The results page: a section for everything measured."""
    blocks = []
    for name, (heading, render) in SECTIONS.items():
        if (results / f"{name}.json").exists():
            result = read(results, name)
            blocks.append("\n".join([f"## {heading}", "", *render(result), "", source(name, result)]))
    return "\n\n".join(blocks)


PAGES: dict[str, Callable[[Path], str]] = {"README.md": overview, "docs/results.md": sections}


def replaced(page: str, text: str) -> str:
    """A page with the text between its markers. Raises ValueError if it has none."""
    before, start, rest = page.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise ValueError(f"expected the markers {START} and {END}")
    return f"{before}{START}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Write or check the pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    options = parser.parse_args()
    for name, render in PAGES.items():
        page = HERE.parent / name
        old = page.read_text(encoding="utf-8")
        new = replaced(old, render(HERE / "results"))
        if options.check and new != old:
            sys.exit(f"{name} differs from benchmarks/results: run python benchmarks/readme_table.py")
        if not options.check:
            page.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
