"""Tables of models: families, ablations, what latents know, and how runs went."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean, stdev
from typing import Any

Result = dict[str, Any]


def training_steps(result: Result) -> Iterator[str]:
    """How long a training step takes."""

    def most(way: str) -> float:
        return max(float(row["first_steps_seconds"][way]) for row in result["rows"])

    yield "| net | images of a step | threads | torch, ms | compiled by torch, ms | **fused, ms** |"
    yield "| --- | --- | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        batch, channels, height, width = row["images"]
        images = f"{batch} of {height} x {width}, {'RGB' if channels == 3 else 'one channel'}"
        took = row["milliseconds"]
        each = f"{took['torch']:.0f} | {took['torch, compiled']:.0f} | **{took['fused']:.0f}**"
        yield f"| {row['net']} | {images} | {row['threads']} | {each} |"
    yield ""
    yield (
        "The loss of a batch and its gradients, the best of some steps. Products of fused steps are of "
        f"{result['products']}. Before them, the first two steps took {most('torch, compiled')} s at most where torch "
        f"compiles, {most('fused')} s where they are fused."
    )


def families(result: Result) -> Iterator[str]:
    """What the model families cost besides their bound."""
    yield (
        "| codec | parameters | images/s in | out | MB/s in | out | network | coder | "
        "100 images, over the ELBO | initial bits | popped by an image |"
    )
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        rates = [row[key][way] for key in ("images_per_second", "mb_per_second") for way in ("encode", "decode")]
        few = row["first_100"]
        over = f"+{few['message_over_negative_elbo_percent']:.2f} % | {few['of_which_initial_percent']:.2f} %"
        told = " | ".join(f"{rate:,g}" for rate in rates)
        spent = {way: row["shares_of_time"][way] for way in ("encode", "decode")}
        shares = " | ".join(
            ", ".join(f"{100 * (some[room] + some.get(engine, 0)):.0f}" for some in spent.values()) + " %"
            for room, engine in (("network", "engine"), ("coder kernels", ""))
        )
        popped = f"{few['popped_over_image']:.2f} images"
        yield f"| {row['codec']} ({row['model']}) | {row['parameters']:,} | {told} | {shares} | {over} | {popped} |"
    yield ""
    yield (
        "One thread. *Network* and *coder* are shares of the time, encoding and decoding; an engine counts as network, "
        "though it codes pixels, too; files, checks and Python take the rest. *Popped by an image*: the bits its "
        "latents pop, in units of an average image. The bound has latents without a grid; a decoder trained on a "
        "coarse grid can do a little better with it."
    )


def ablations(result: Result) -> Iterator[str]:
    """What parts of the models are for: a table for each question."""
    for name, about in result["experiments"].items():
        rows = [row for row in result["rows"] if row["experiment"] == name]
        arms = {arm: [row for row in rows if row["arm"] == arm] for arm in dict.fromkeys(row["arm"] for row in rows)}
        if not arms:
            continue
        yield f"**{about['question'][0].upper()}{about['question'][1:]}** The papers: {about['paper']}."
        yield ""
        yield "| arm | parameters | steps | runs | rate, nats | negative ELBO | IWAE (100 draws) |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
        for arm, ran in arms.items():
            sites = ([row["rate_nats"][site] for row in ran] for site in ran[0]["rate_nats"])
            rate = " + ".join(f"{fmean(nats):.2f}" for nats in sites) or "none"
            bounds = " | ".join(spread([row[bound] for row in ran]) for bound in ("negative_elbo_nats", "iwae_nats"))
            yield f"| {arm} | {ran[0]['parameters']:,} | {ran[0]['steps']:,} | {len(ran)} | {rate} | {bounds} |"
        yield ""
        means = {arm: fmean(row["negative_elbo_nats"] for row in ran) for arm, ran in arms.items()}
        yield f"Measured, best first: {'; '.join(sorted(means, key=means.__getitem__))}."
        if "with latents" in means:
            rest = [(arm, mean - means["with latents"]) for arm, mean in means.items() if arm != "with latents"]
            yield f"Worth of latents in nats: {'; '.join(f'{worth:+.2f} ({arm})' for arm, worth in rest)}."
        yield ""
    yield (
        f"Nats an image after short training, {result['data']}. All arms of a table took the same number of steps, "
        "each as often as *runs* says, with other seeds: means, and standard deviations. Rates are as coded: the "
        "delta-VAE uses its auxiliary prior, so that its rate is below the committed one where latents are idle."
    )


def spread(values: list[float]) -> str:
    """The mean of some values and, of two or more, their standard deviation."""
    return f"{fmean(values):.2f}" + (f" \u00b1 {stdev(values):.2f}" if len(values) > 1 else "")


def latents(result: Result) -> Iterator[str]:
    """What latents know of digits."""
    yield "| codec | latents | digits a linear probe names | pixels shared by reconstructions | by those of others |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        shared = f"{100 * row['pixels_shared']:.1f} % | {100 * row['pixels_shared_with_others']:.1f} %"
        yield f"| {row['codec']} ({row['model']}) | {row['latents']} | **{100 * row['probe']:.1f} %** | {shared} |"
    yield ""
    yield f"The same probe, on the pixels: {100 * result['probe_on_pixels']:.1f} %."


def curves(result: Result) -> Iterator[str]:
    """Bits/dim over training."""
    yield "| codec | minutes | after a quarter | half | three quarters | all | gain of the last quarter |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for row in result["rows"]:
        quarters = " | ".join(f"{bits:.4f}" for bits in row["quarters"])
        gain = 100 * (row["quarters"][-1] / row["quarters"][-2] - 1)
        yield f"| {row['codec']} ({row['model']}) | {row['minutes']:g} | {quarters} | {gain:+.1f} % |"
    yield ""
    yield "Bits/dim on held-out images. Learning rates fall at the end: a longer run gains more than the tail shows."
    yield ""
    yield "![bits/dim over the minutes of each run](curves.png)"
