"""Render the measured results into README.md, between its two markers.

    python benchmarks/readme_table.py            # write
    python benchmarks/readme_table.py --check    # leave with status 1 if README.md says something else
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
START, END = "<!-- results: rendered by benchmarks/readme_table.py -->", "<!-- end of results -->"
Result = dict[str, Any]


def source(name: str, result: Result) -> str:
    """The line under a table that says where it comes from."""
    rows = result["rows"] if isinstance(result.get("rows"), list) else []
    environments = [row["environment"] for row in rows if "environment" in row] or [result["environment"]]
    told = [f"{one['cpu']}, {one['cores']} cores, torch {one['versions']['torch']}" for one in environments]
    machines = " and ".join(dict.fromkeys(told))  # rows are measured one by one, and not all on one machine
    return f"`{result['command']}` ({result['data']}; {machines}) -> `benchmarks/results/{name}.json`"


def kodak(result: Result) -> Iterator[str]:
    """Sizes of the photos."""
    ours = result["bbcodec"]
    learned, files = ours["stored_as"].get("learned", 0), sum(ours["stored_as"].values())
    yield "| Kodak, 24 photos | bytes | bits/dim |"
    yield "| --- | ---: | ---: |"
    names = {
        "png_as_they_come": "PNG, as they come",
        "webp_m6": "WebP lossless, m6",
        "webp_m6_q100": "WebP lossless, m6, quality 100",
        "jpegxl_e7": "JPEG XL lossless, e7",
        "jpegxl_e9": "JPEG XL lossless, e9",
    }
    for key, name in names.items():
        peer = result["peers"].get(key)
        if peer is not None:
            yield f"| {name} | {peer['bytes']:,} | {peer['bits_per_dim']:.3f} |"
    yield f"| **bbcodec**, one archive | **{ours['archive_bytes']:,}** | **{ours['bits_per_dim']:.3f}** |"
    yield ""
    yield f"{learned} of {files} photos are stored by the learned codec."


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
        "of encoder and decoder give every pixel back. Of the codecs "
        f"{', '.join(f'`{name}`' for name in result['codecs'].values())}."
    )


def speed(result: Result) -> Iterator[str]:
    """MB/s."""
    yield f"| {result['unit']} | in | out |"
    yield "| --- | ---: | ---: |"
    whole, codec = result["command_line_with_start_up"], result["codec"]
    yield f"| bbcodec, command line | {whole['compress']:.2f} | {whole['decompress']:.2f} |"
    yield f"| bbcodec, command line, result checked (default) | {whole['compress_and_verify']:.2f} | |"
    yield f"| bbcodec, the codec alone | {codec['encode']:.2f} | {codec['decode']:.2f} |"
    for key, name in {"jpegxl_e7": "JPEG XL e7", "jpegxl_e9": "JPEG XL e9", "webp_m6": "WebP m6"}.items():
        if key in result["peers"]:
            rates = result["peers"][key]
            out = f"{rates['decode']:.1f}" if "decode" in rates else ""
            yield f"| {name} | {rates['encode']:.2f} | {out} |"


def folders(result: Result) -> Iterator[str]:
    """Folders that come back, and the sprites beside their peers."""
    odd, sprites = result["strange_images"], result["sprites"]
    made = ", ".join(f"{count:,} files {how}" for how, count in result["strange_images_made"].items())
    for what, one in (("strange images", odd), ("sprites", sprites)):
        yield (
            f"{one['files_the_same']:,} of {one['files']:,} {what} come back the same "
            f"({one['of_which_byte_for_byte']:,} of them byte for byte)."
        )
    parts = odd["files"] - sum(result["strange_images_made"].values())
    yield f"Strange ones were made: {made}{f', and {parts} more where it writes several for one' if parts else ''}."
    yield ""
    yield "| 4,265 sprites, as PNG files | bytes |"
    yield "| --- | ---: |"
    for name, size in result["sprites_peers_bytes"].items():
        yield f"| {name} | {size:,} |"
    yield f"| **bbcodec**, one archive | **{sprites['archive_bytes']:,}** |"
    yield ""
    yield "WebP figures are of colours alone, without the palettes, names, times and metadata that the archive holds."


def many(result: Result) -> Iterator[str]:
    """A great many small images."""
    index, one, memory = result["index_bytes_a_file"], result["seconds_to_read_one"], result["memory_mb"]
    yield (
        f"{result['files']:,} small images, {result['file_bytes']:,} bytes as PNG files, become "
        f"{result['archive_bytes']:,} bytes. Memory of all processes, {result['jobs']} of them workers: "
        f"{memory['compress']:,} MB compressing, "
        f"{memory['decompress']:,} MB restoring. The index takes {index['index']} bytes a file, names included, the "
        f"directories that replace it when it is lost {index['directory_chunks']}. After a start of "
        f"{one['start_up']} s, one image is read in {one['median'] or 'less than 0.001'} s (median of 40; at most "
        f"{one['most']} s)."
    )


def large(result: Result) -> Iterator[str]:
    """One very large image."""
    memory = result["memory_mb"]
    yield (
        f"An image of {result['megapixels']:g} megapixels, {result['png_bytes']:,} bytes as PNG, becomes "
        f"{result['archive_bytes']:,} bytes, with {memory['compress']:,} MB of memory in all processes, "
        f"{result['jobs']} of them workers, and comes back "
        f"with {memory['decompress']:,} MB."
    )


def trained(result: Result) -> Iterator[str]:
    """Every codec on its test images: a row each, and notes below."""
    yield "| test images | codec | negative ELBO | IWAE | **file** | over the ELBO | best classical | others |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |"
    first = {row["test"]: row["codec"] for row in reversed(result["rows"])}  # here, what is known of the images is told
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
        "Bits/dim. The file is a whole archive, without the codec. The best classical form is the shortest of PNG, "
        "WebP, JPEG XL, contact sheets and an archive without a codec (`benchmarks/classical.py`)."
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
    """How a codec came to be, and what else is to be known."""
    trained = row["trained"]
    start = f", from {trained['began_with'].partition(',')[0]}" if "began_with" in trained else ""
    words = [
        f"`{row['codec']}`: {row['model']}, {row['parameters']:,} parameters, {row['codec_file_bytes']:,} bytes; "
        f"{trained['minutes']:g} minutes on {trained['device']}{start}."
    ]
    if row["iwae_nats_per_image"]:
        words.append(
            f"Negative ELBO {row['negative_elbo_nats_per_image']:.2f}, IWAE ({row['iwae']['draws']:,} draws, "
            f"{row['iwae']['images']:,} images) {row['iwae_nats_per_image']:.2f} nats an image."
        )
    if peer is not None and peer["bytes"] > row["file_bytes"]:
        images = -(-row["codec_chunk_bytes"] * row["images"] // (peer["bytes"] - row["file_bytes"]))
        words.append(f"With its codec inside, an archive is the shortest from {images:,} images on.")
    return " ".join(words) + (f" {row['note'][0].upper()}{row['note'][1:]}." if row["note"] else "")


def presets(result: Result) -> Iterator[str]:
    """What the presets of `bbcodec train` reach in the same time."""
    yield "| images | preset | parameters | images/s learnt | MB/s coded | bits/dim | WebP | JPEG XL |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        rates = f"{row['images_per_second']:.0f} | {row['coded_mb_per_second']:.2f} | **{row['bits_per_dim']:.4f}**"
        peers = " | ".join(f"{row['peers'].get(key) or math.nan:.4f}" for key in ("webp", "jpegxl"))
        preset = f"{row['preset']}{' *' if row['busy'] else ''}"
        yield f"| {row['test']} | {preset} | {row['parameters']:,} | {rates} | {peers} |"
    yield ""
    if any(row["busy"] for row in result["rows"]):
        yield "\\* With other work on the machine, so that speeds are low, and bits/dim what fewer steps gave."
    yield f"After {result['minutes']:g} minutes of training each. Bits/dim are of whole archives, without the codec."


def families(result: Result) -> Iterator[str]:
    """What the model families cost besides their bound."""
    yield (
        "| codec | parameters | images/s in | out | MB/s in | out | of it the network | the coder | "
        "100 images, over the ELBO | initial bits | popped by an image |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        rates = [row[key][way] for key in ("images_per_second", "mb_per_second") for way in ("encode", "decode")]
        few = row["first_100"]
        over = f"+{few['message_over_negative_elbo_percent']:.2f} % | {few['of_which_initial_percent']:.2f} %"
        told = " | ".join(f"{rate:,g}" for rate in rates)
        shares = " | ".join(
            ", ".join(f"{100 * row['shares_of_time'][way][room]:.0f}" for way in ("encode", "decode")) + " %"
            for room in ("network", "coder kernels")
        )
        popped = f"{few['popped_over_image']:.2f} images' worth"
        yield f"| {row['codec']} ({row['model']}) | {row['parameters']:,} | {told} | {shares} | {over} | {popped} |"
    yield ""
    yield (
        "On one thread. Shares of the time are of encoding and of decoding; the rest is files, checks and Python. The "
        "bound is of latents without a grid: a decoder that learned on a coarse one can do a little better with it."
    )


def ablations(result: Result) -> Iterator[str]:
    """What parts of the models are for: a table for each question."""
    for name, about in result["experiments"].items():
        rows = [row for row in result["rows"] if row["experiment"] == name]
        if not rows:
            continue
        yield f"**{about['question'][0].upper()}{about['question'][1:]}** The papers: {about['paper']}."
        yield ""
        yield "| arm | parameters | steps | rate, nats | negative ELBO | IWAE (100 draws) |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: |"
        for row in rows:
            rate = " + ".join(f"{nats:.2f}" for nats in row["rate_nats"].values()) or "none"
            bounds = f"{row['negative_elbo_nats']:.2f} | {row['iwae_nats']:.2f}"
            yield f"| {row['arm']} | {row['parameters']:,} | {row['steps']:,} | {rate} | {bounds} |"
        yield ""
        ranked = sorted(rows, key=lambda row: row["negative_elbo_nats"])
        yield f"Here, by negative ELBO: {'; '.join(row['arm'] for row in ranked)}."
        yield ""
    yield (
        f"Nats an image, after short training, {result['data']}. All arms of a table did the same steps, once each: "
        "small differences may be chance. Rates are as coded: of the delta-VAE under its auxiliary prior, which is "
        "below the rate that the other prior commits to where latents are idle."
    )


def curves(result: Result) -> Iterator[str]:
    """How training came on."""
    yield "| codec | minutes | after a quarter | half | three quarters | all | the last quarter gave |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        quarters = " | ".join(f"{bits:.4f}" for bits in row["quarters"])
        gain = 100 * (row["quarters"][-1] / row["quarters"][-2] - 1)
        yield f"| {row['codec']} ({row['model']}) | {row['minutes']:g} | {quarters} | {gain:+.1f} % |"
    yield ""
    yield "Bits/dim on held-out images. Rates fall to the end of a run: a longer one gains more than the tail tells."
    yield ""
    yield "![bits/dim over the minutes of each run](docs/curves.png)"


def roundtrips(result: Result) -> Iterator[str]:
    """Every family on every set."""
    rows = {(row["set"], row["family"]): row for row in result["rows"]}
    families = list(dict.fromkeys(row["family"] for row in result["rows"]))
    yield f"| messages that give every pixel back | {' | '.join(families)} |"
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
    yield "Codecs of some seconds of training, decoded in another process with other threads."
    for name, why in refused.items():
        yield ""
        yield f"{name}: {why}."


SECTIONS: dict[str, tuple[str, Callable[[Result], Iterator[str]]]] = {
    "kodak": ("Photos", kodak),
    "trained": ("Codecs of data sets", trained),
    "presets": ("Twenty minutes of training", presets),
    "folders": ("Folders of anything", folders),
    "many": ("Many small images", many),
    "large": ("A large image", large),
    "speed": ("Speed", speed),
    "determinism": ("The same bits everywhere", determinism),
    "mnist_binary": ("From the bound to the file", mnist_binary),
    "families": ("The model families", families),
    "curves": ("How training came on", curves),
    "roundtrips": ("Every family on every data set", roundtrips),
    "ablations": ("What the parts are for", ablations),
}


def rendered(results: Path) -> str:
    """The text between the markers: one block for every result that has been measured."""
    blocks = []
    for name, (heading, render) in SECTIONS.items():
        path = results / f"{name}.json"
        if path.exists():
            result = json.loads(path.read_text(encoding="utf-8"))
            if name == "trained":
                others = results / "classical.json"
                rows = json.loads(others.read_text(encoding="utf-8"))["rows"] if others.exists() else []
                result["classical"] = {row["test"]: row for row in rows}
            blocks.append("\n".join([f"### {heading}", "", *render(result), "", source(name, result)]))
    return "\n\n".join(blocks)


def replaced(readme: str, text: str) -> str:
    """README with the text between its markers."""
    before, _, rest = readme.partition(START)
    _, _, after = rest.partition(END)
    if not rest or END not in readme:
        sys.exit("README.md has lost its markers")
    return f"{before}{START}\n\n{text}\n\n{END}{after}"


def main() -> None:
    """Write or check README.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    options = parser.parse_args()
    readme = HERE.parent / "README.md"
    old = readme.read_text(encoding="utf-8")
    new = replaced(old, rendered(HERE / "results"))
    if options.check and new != old:
        sys.exit("README.md differs from benchmarks/results: run python benchmarks/readme_table.py")
    if not options.check:
        readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
