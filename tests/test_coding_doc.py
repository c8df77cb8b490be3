"""The worked examples of docs/coding.md, computed by the code: the page and the code say the same."""

import hashlib
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numba as nb
import numpy as np
import pytest
import torch

from bbcodec.codec.catalogue import split_codec
from bbcodec.codec.codec import SEED, PixelFormat, batch_widths
from bbcodec.codec.file import load_codec, save_codec
from bbcodec.coder import tables
from bbcodec.coder.ans import AnsStack, filler
from bbcodec.coder.kernels import bernoulli, gaussian
from bbcodec.distributions import Gaussian, LogisticMixture, Mixture
from bbcodec.distributions.rowwise import FirstOrder
from bbcodec.engine import logistic
from bbcodec.engine.compiling import choose
from bbcodec.engine.logistic import mixture_intervals, room
from bbcodec.exact import activations, attention
from bbcodec.exact.dense import Wide, product_gate
from bbcodec.exact.layers import Conv, exact_layers
from bbcodec.exact.masked_conv import MaskedConv
from bbcodec.exact.normalisation import normalised
from bbcodec.exact.pixel_snail import coordinate_code, evenly_spread
from bbcodec.exact.recurrent import Lstm
from bbcodec.exact.wave_order import WaveOrder
from bbcodec.model.coding import decode
from bbcodec.model.latent_model import LatentModel
from bbcodec.models.attentive import Attentive, AttentiveConfig
from bbcodec.models.delta_vae import (
    DeltaVae,
    DeltaVaeConfig,
    log_sigmas_of,
)
from bbcodec.models.vae import Vae
from bbcodec.models.vae_config import VaeConfig
from bbcodec.models.vamp import Vamp, VampConfig
from bbcodec.models.vlae import Vlae
from bbcodec.models.vlae_config import VlaeConfig

PAGE = Path(__file__).parents[1] / "docs" / "coding.md"
BLOCK = re.compile(r"^```example (\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)

Example = dict[str, Any]
COUNT, HEIGHT, WIDTH = 4, 5, 9  # of the images of the example codec


def written() -> dict[str, dict[str, str]]:
    """The examples of the page: name -> what stands left of the last ` = ` of a line -> what stands right of it."""
    return {
        name: dict(re.split(r" += (?!.* = )", line) for line in lines.splitlines())
        for name, lines in BLOCK.findall(PAGE.read_text())
    }


def text(value: Any) -> str:
    """Numbers apart by spaces."""
    return " ".join(text(v) for v in value) if isinstance(value, list | tuple) else str(value)


class Tape(AnsStack):
    """A stack that keeps the symbols and parameters of everything popped, and what is pushed."""

    def __init__(self, lanes: int = 1) -> None:
        super().__init__(lanes)
        self.popped: list[tuple[Any, ...]] = []
        self.pushed: list[tuple[Any, ...]] = []

    def pop(self, kernel: Any, symbols: Any, params: Any, *shared: Any) -> None:
        super().pop(kernel, symbols, params, *shared)
        self.popped.append((symbols.tolist(), *(p.tolist() for p in params)))

    def push(self, kernel: Any, symbols: Any, params: Any, *shared: Any) -> None:
        super().push(kernel, symbols, params, *shared)
        self.pushed.append((symbols.tolist(), *(p.tolist() for p in params)))


def state(stack: AnsStack) -> str:
    """Head, and up to four words of the tail, newest first, in hexadecimal; number of words."""
    high, low, *tail = stack.flatten().tolist()
    return f"{high << 32 | low:016x} | {' '.join(f'{word:08x}' for word in tail[:4]) or '-'} | {len(tail)}"


def example_filler() -> Example:
    return {f"filler(0, {i})": f"{filler(0, i, 1)[0]:08x}" for i in range(3)} | {
        "filler(7, 0)": f"{filler(7, 0, 1)[0]:08x}"
    }


def example_stack() -> Example:
    stack = AnsStack.seeded()
    out = {"seeded": state(stack)}
    intervals = ((5, 3, 4), (16777215, 1, 24), (7, 9, 24))
    for c, m, p in intervals:
        stack.push_intervals([c], [m], p)
        out[f"push c {c}, m {m}, P {p}"] = state(stack)
    for c, m, p in reversed(intervals):
        stack.pop_intervals([c], [m], p)
    out["all popped"] = state(stack)
    slot = int(stack.slots(1, 28)[0])
    out["slot for P 28"] = str(slot)
    stack.pop_intervals([slot - 5], [7], 28)
    out[f"pop c {slot - 5}, m 7, P 28"] = state(stack)
    return out


def example_lanes() -> Example:
    stack = AnsStack.seeded(lanes=2)
    stack.push_intervals([1, 2, 3], [1, 1, 1], 24)
    return {"words": [f"{word:08x}" for word in stack.flatten().tolist()]}


def example_tables() -> Example:
    out: Example = {}
    for name, *at in (
        ("NORMAL", 0, 400, 799),
        ("LOGISTIC", 0, 320, 639),
        ("BERNOULLI", 0, 2046, 2047, 2048, 4094),
        ("INVERSE_SCALE", 0, 1138, 2546),
        ("EXP_FRACTION", 0, 1, 255),
        ("EXP_WHOLE", 0, 1, 22),
        ("LOG2", 1, 4096),
        ("EXP2", 1, 4096),
        ("QUANTILE", 0, 1, 1024),
    ):
        table = getattr(tables, name)
        out |= {f"{name}[{i}]": text(table[i].tolist()) for i in at}
        out[f"digest of {name}"] = hashlib.blake2b(table.astype("<i8").tobytes(), digest_size=8).hexdigest()
    return out | {"digest of all nine": tables.digest()}


def example_activations() -> Example:
    out: Example = {}
    for table in (activations.silu, activations.tanh, activations.sigmoid, activations.gelu):
        out |= {f"{table.name}[{y}]": int(table.values[y + 2048]) for y in (-2048, -372, 1, 100, 2047)}
        digest = hashlib.blake2b(table.values.numpy().astype("<i2").tobytes(), digest_size=8)
        out[f"digest of {table.name}"] = digest.hexdigest()
    return out


def called(function: Any) -> Any:
    """A function that is inlined into kernels, as one that Python can call."""
    return nb.njit(lambda *arguments: function(*arguments))


def example_gaussian() -> Example:
    out: Example = {}
    row_of, cumulative = called(gaussian.row_of), called(gaussian.cumulative)
    for mean, log_sigma, steps, k in (
        (100, -300, 8, 3),
        (100, -300, 8, 4),
        (0, 0, 1, -7),
        (-5000, -5000, 64, -511),
        (7, 99, 4, 30),
    ):
        one = Gaussian(torch.tensor([float(mean)]), torch.tensor([float(log_sigma)]), steps)
        centre, inverse, _ = row_of(mean, log_sigma, one.log_sigma_min, tables.INVERSE_SCALE)
        grid = 128 // steps, one.bound, tables.NORMAL
        out[f"mean {mean}, log_sigma {log_sigma}, steps {steps}: F({k}), F({k + 1})"] = [
            int(cumulative(edge, centre, inverse, *grid)) for edge in (k, k + 1)
        ]
    return out


def example_bernoulli() -> Example:
    interval = called(bernoulli.interval)
    return {f"logit {logit}: F(1)": int(interval(1, logit, tables.BERNOULLI)[0]) for logit in (0, 128, -128, 9999)}


ROWS = {  # parameters of mixtures of two components, and a pixel
    "grey": ((0, -300, 100, -900, 300, -200), (130,)),
    "RGB": ((0, 90, 5, 5, -700, 0, 32, -64, 40, 9, -7, 800, 256, 300, 1, -9999, 200, 100, 255, -3, -1, 77, 256, 9999),
            (131, 120, 255)),
    "joint": ((0, 90, -700, 0, 32, -64, 40, 9, -7, 300, 256, 300, 1, -9999, 200, 100, 255, -3, -1, 77),
              (131, 120, 255)),
}  # fmt: skip


def example_logistic() -> Example:
    out: Example = {"digest of tables": logistic.digest()}
    for kind, (row, pixel) in ROWS.items():
        out[f"{kind}: row"] = list(row)
        mixture = LogisticMixture(torch.tensor([row]).float(), len(pixel), kind == "joint")
        memory, starts, masses = room(mixture.mixture), *np.empty((2, len(pixel)), np.int32)
        values = np.array([pixel], np.int32)
        mixture_intervals(choose(), mixture.mixture, *mixture.rows(), np.arange(1), values, memory, starts, masses)
        for c, k in enumerate(pixel):
            end = int(starts[c] + masses[c])
            out[f"{kind}: start({k}), start({k + 1}) of channel {c}"] = [int(starts[c]), end]
        out[f"{kind}: weights, D of channel {c}"] = [*memory.weight[:, 0].tolist(), *memory.distance[:, 0].tolist()]
    return out


def example_rounding() -> Example:
    """A layer of one weight of 1, bias 0 and scale 1 halves its input."""
    halve = Conv(1, 1, 1)
    halve.load_integers(torch.ones(1, 1, 1, 1).short(), torch.zeros(1).int(), torch.ones(1).to(torch.int8))
    numbers = [-5, -3, -2, -1, 1, 3, 5, 7]
    halves = halve(torch.tensor(numbers).float().view(1, 1, 1, -1)).flatten().int().tolist()
    return {f"rne({number}, 1)": half for number, half in zip(numbers, halves, strict=True)}


def example_taps() -> Example:
    return {
        f"radius {radius}, kind {kind}": [f"({di},{dj})" for di, dj in MaskedConv(1, 1, radius, kind).taps]
        for radius, kind in ((1, "A"), (1, "B"), (2, "A"))
    }


def example_waves() -> Example:
    order = WaveOrder(3, 4)
    return {f"wave {w.t}": [f"({i},{w.t - 2 * i})" for i in range(w.first, w.last)] for w in order}


def example_widths() -> Example:
    return {
        f"N = {n}, g = {g}, limit {limit}": batch_widths(n, g, limit)
        for n, g, limit in ((10, 16, 100), (2, 0, 9), (20, 80, 4))
    }


EXAMPLE = VlaeConfig(
    channels=1, levels=2, hidden=3, layers=1, inner=3, between=1, radius=2, components=1, latent_channels=2,
    latent_stride=4, context_stride=2, width=2, blocks=1, prior_hidden=2, prior_layers=1, steps_per_unit=4,
)  # fmt: skip


def fill_layers(model: torch.nn.Module) -> None:
    """Filler for the whole numbers of every layer, as sections 9 and 14.3 say it."""
    for n, layer in enumerate(exact_layers(model).values(), 1):
        stored = layer.stored()
        shape, outputs = stored["weight"].shape, layer.bias.numel()
        words = filler(n, 0, shape.numel() + 2 * outputs).astype(np.int64)
        weight, bias, scale = np.split(words, [shape.numel(), shape.numel() + outputs])
        most = 127 if stored["weight"].dtype == torch.int8 else 128
        weight, least = (weight % (2 * most + 1) - most).reshape(shape), 4 if "shift" in stored else 7
        numbers = weight, bias % 2001 - 1000, scale % 3 + least
        kept = zip(stored.values(), numbers, strict=True)
        layer.load_stored(*(torch.from_numpy(each).to(before.dtype) for before, each in kept))


def example_codec() -> Example:
    """A codec whose weights are filler, and a message of it."""
    torch.manual_seed(0)
    model = Vlae(EXAMPLE)
    fill_layers(model)
    content = save_codec(model, "vlae", EXAMPLE, PixelFormat(1, 2), {})
    codec = load_codec(content, "cpu", engine=False)
    images = (filler(100, 0, COUNT * HEIGHT * WIDTH) >> np.uint32(31)).reshape(COUNT, HEIGHT, WIDTH, 1)
    message = codec.encode_message(images.astype(np.uint8))
    widths = batch_widths(COUNT, message[0], codec.widest(images.shape))
    out: Example = {"growth": message[0], "widths, in the order of decoding": widths[::-1]}
    out |= {f"message, from byte {n}": message[n : n + 48].hex() for n in range(0, len(message), 48)}
    out["image 0"] = ["".join(map(str, row)) for row in images[0, :, :, 0].tolist()]
    tape = Tape.unflatten(np.frombuffer(message, "<u4", offset=1))
    out["stack of the message"] = state(tape)
    n_prior = len(list(WaveOrder(*model.sizes(HEIGHT, WIDTH)[-1])))
    for batch, width in enumerate(reversed(widths)):
        tape.popped, tape.pushed = [], []
        decode(codec.backend.model, tape, torch.Size((width, 1, HEIGHT, WIDTH)))
        out |= shown(f"batch {batch}", tape, n_prior, ((0, 1, 2), (2,), ())[batch])
        out[f"batch {batch}: stack after it"] = state(tape)
    assert tape.is_seed(SEED, len(tape.flatten()) - 2)
    return out | {f"known answer {n}": a for n, a in enumerate(split_codec(content)[0]["known_answers"])}


def shown(batch: str, tape: Tape, n_prior: int, shown_waves: tuple[int, ...]) -> Example:
    """What is popped in some waves, and what is pushed in the end, when a batch is decoded."""
    if not shown_waves:
        return {}
    out: Example = {}
    for n in shown_waves:
        z, means, log_sigmas = tape.popped[n]
        out |= {f"{batch}: p means, wave {n}": means, f"{batch}: p log sigmas, wave {n}": log_sigmas}
        out[f"{batch}: z, wave {n}"] = z
    for n in shown_waves:
        x, logits = tape.popped[n_prior + n]
        out |= {f"{batch}: logits, wave {n}": logits, f"{batch}: x, wave {n}": x}
    ((z, means, log_sigmas),) = tape.pushed
    return out | {f"{batch}: q means": means, f"{batch}: q log sigmas": log_sigmas, f"{batch}: z pushed": z}


def example_normalisation() -> Example:
    rows = (3, -5, 200, 40), (2047, 2047, -2047), (7, 7, 7)
    return {f"n of {text(list(row))}": normalised(torch.tensor(row).float()).int().tolist() for row in rows}


def example_attention() -> Example:
    table = attention.EXP_ARRAY
    digest = hashlib.blake2b(table.astype("<i4").tobytes(), digest_size=8).hexdigest()
    out: Example = {f"EXP24[{b}]": int(table[b]) for b in (0, 1, 2560, 4607)} | {"digest of EXP24": digest}
    v = (100, -7, 50, 0, 2000, 9)
    for q, k in (((300, -200), (300, -200, 100, 50, -2047, 2047)), ((30, -20), (30, -20, 10, 5, -20, 20))):
        parts = [torch.tensor(part).float().view(1, 1, -1, 2) for part in (q, k, v)]
        y = attention.attend(*parts, torch.tensor([0]), torch.tensor([3]))
        out[f"y of q {text(list(q))}, k {text(list(k))}, v {text(list(v))}"] = y.flatten().int().tolist()
    return out


def example_lstm() -> Example:
    """One unit, whose input layer copies y."""
    net, out = Lstm(4, 1), {}
    biases, scales = torch.zeros(4).int(), torch.zeros(4).to(torch.int8)
    net.inputs.load_integers(torch.eye(4).short(), biases, scales)
    net.states.load_integers(torch.zeros(4, 1).short(), biases, scales)
    for y, c in (((100, 300, -50, 20), 500), ((-2000, 5000, 0, -300), -2047)):
        h, after = net.step(torch.tensor([y]).float(), (torch.zeros(1, 1), torch.full((1, 1), float(c))))
        out[f"c, h after y {text(list(y))}, c {c}, h 0"] = [int(after), int(h)]
    return out


def example_rows() -> Example:
    out: Example = {f"a {a}, g after it": log_sigmas_of([a]) for a in (3891, 2048)}
    for z, a, steps in ((-13, 3891, 8), (5, 2048, 64)):
        params = FirstOrder([a], [0], steps).rows(torch.tensor([[[z], [0]]]).float())
        out[f"mean after z {z}, a {a}, steps {steps}"] = int(params[0, 1, 0])
    return out


def example_places() -> Example:
    places = {str(n): coordinate_code(torch.tensor(n)).int().tolist() for n in (5, 300)}
    return places | {f"blocks 2 among {n} layers, after": list(evenly_spread(2, n)) for n in (6, 5)}


DELTA = DeltaVaeConfig(
    channels=1, levels=2, hidden=3, layers=2, attentions=1, radius=1, components=1, heads=1, head_size=2, window=8,
    width=2, blocks=1, encoder_attentions=1, latent_channels=2, rows=5, auxiliary=2,
)  # fmt: skip


def example_deltas() -> Example:
    spaced = replace(DELTA, latent_channels=3, alpha_low=250, alpha_high=750)
    solved = replace(DELTA, latent_channels=4, rate_bits=20, rows=28)
    lone = DeltaVae(replace(DELTA, latent_channels=1, rate_bits=10, rows=10, prior="independent"))
    means = lone.floors.int().tolist()
    return {
        "alphas of 250 to 750, Z = 3": spaced.alphas,
        "alphas of 20 bits in 28 rows, Z = 4": solved.alphas,
        "L, N of 10 bits in 10 rows, Z = 1, steps 8": [lone.lowest, len(means)],
        "M[0], M[N - 1]": [means[0], means[-1]],
    }


def first_batch(model: LatentModel, family: str) -> tuple[Tape, Example, Example]:
    """A message of a codec of the model: its tape after one batch was decoded, its bytes, and the known answers."""
    content = save_codec(model, family, model.config, PixelFormat(1, 2), {})
    codec = load_codec(content, "cpu", engine=False)
    images = (filler(100, 0, COUNT * HEIGHT * WIDTH) >> np.uint32(31)).reshape(COUNT, HEIGHT, WIDTH, 1)
    message = codec.encode_message(images.astype(np.uint8))
    shown: Example = {f"message, from byte {n}": message[n : n + 48].hex() for n in range(0, len(message), 48)}
    tape = Tape.unflatten(np.frombuffer(message, "<u4", offset=1))
    decode(codec.backend.model, tape, torch.Size((batch_widths(COUNT, message[0], 100)[-1], 1, HEIGHT, WIDTH)))
    answers: Example = {f"known answer {n}": one for n, one in enumerate(split_codec(content)[0]["known_answers"])}
    return tape, shown, answers


def example_delta() -> Example:
    """A codec of the family `delta-vae` whose weights are filler, and a message of it."""
    model = DeltaVae(DELTA)
    fill_layers(model)
    model.choice.load_stored(torch.ones(1, dtype=torch.int8))
    tape, out, answers = first_batch(model, "delta-vae")
    for n in (0, 1):
        z, means, log_sigmas = tape.popped[n]
        out |= {f"batch 0: p means, row {n}": means, f"batch 0: p log sigmas, row {n}": log_sigmas}
        out[f"batch 0: z, row {n}"] = z
    for n in (0, 4):
        out[f"batch 0: logits, wave {n}"] = tape.popped[HEIGHT + n][1]
    ((_, means, log_sigmas),) = tape.pushed
    out |= {"batch 0: q means": means, "batch 0: q log sigmas": log_sigmas}
    return out | answers


VAMP = VampConfig(
    height=HEIGHT, width=WIDTH, layers=2, latents=2, prior="weighted", components=3, decoder="pixelcnn", hidden=3,
    features=2, local_layers=1, inner=3, radius=1, steps_per_unit=4, low_steps_per_unit=2,
)  # fmt: skip


def example_mixture() -> Example:
    """Two latents under three components."""
    log_weights, steps = torch.tensor([0.0, -100.0, 256.0]), 4
    means, log_sigmas = torch.tensor([[0, 0], [100, -50], [700, 700]]), torch.tensor([[0, 0], [-99, 10], [-300, 77]])
    prior = Mixture(log_weights, Gaussian(means.float(), log_sigmas.float(), steps), 1)
    out: Example = {"F of the index": prior._weights().rows()[0][0].tolist()}
    for z in ([1, 0], [11, 12], [-31, 31]):
        rounded, cost = prior._responsibilities(torch.tensor([z]).float())
        out[f"z {text(z)}: F of the responsibilities"] = rounded.rows()[0][0].tolist()
        out[f"z {text(z)}: cost in 2^-24 bits"] = int(cost[0])
    return out


def example_dense() -> Example:
    """A gate of one unit."""
    pairs = [(100, 0), (-3000, 300), (5000, 5000), (7, -2048)]
    return {
        f"gate of a {a}, g {g}": int(product_gate(torch.tensor([[float(a), float(g)]]), 1).item()) for a, g in pairs
    } | {f"runs of {n} inputs": Wide(n, 1).sizes for n in (512, 513, 1100)}


def example_vamp() -> Example:
    """A codec of the family `vamp` whose weights and components are filler, and a message of it."""
    model = Vamp(VAMP)
    fill_layers(model)
    count, latents = VAMP.components, VAMP.latents
    words = filler(1 + len(exact_layers(model)), 0, count * (2 * latents + 1)).astype(np.int64)
    means, log_sigmas, log_weights = np.split(words, [count * latents, 2 * count * latents])
    model.components.load_stored(
        torch.from_numpy(means % 1001 - 500).view(count, latents).short(),
        torch.from_numpy(log_sigmas % 601 - 500).view(count, latents).short(),
        torch.from_numpy(log_weights % 601 - 300).short(),
    )
    tape, out, answers = first_batch(model, "vamp")
    (index, below), (z2, *top), (z1, *low), (x, logits) = tape.popped[:4]
    out |= {"batch 0: F of the index": below[0], "batch 0: index": index}
    out |= {"batch 0: p means, p log sigmas of z2": [*top[0], *top[1]], "batch 0: z2": z2}
    out |= {"batch 0: p means, p log sigmas of z1": [*low[0], *low[1]], "batch 0: z1": z1}
    out |= {"batch 0: logits, wave 0": logits, "batch 0: x, wave 0": x}
    (index, below), (z1, *low), (z2, *top) = tape.pushed
    out |= {"batch 0: F of the responsibilities": below[0], "batch 0: q means, q log sigmas of z1": [*low[0], *low[1]]}
    out |= {"batch 0: q means, q log sigmas of z2": [*top[0], *top[1]]}
    return out | answers


ATTENTIVE = AttentiveConfig(
    layers=3,
    width=3,
    key_channels=2,
    tile=2,
    local_layers=1,
    hidden=2,
    inner=3,
    radius=1,
    context_stride=2,
    steps_per_unit=4,
)


def example_attentive() -> Example:
    """A codec of the family `attentive` whose weights are filler, and a message of it."""
    model = Attentive(ATTENTIVE)
    fill_layers(model)
    tape, out, answers = first_batch(model, "attentive")
    for n, (z, means, log_sigmas) in enumerate(tape.popped[:3], 1):
        out |= {f"batch 0: p means of z{n}": means, f"batch 0: p log sigmas of z{n}": log_sigmas}
        out[f"batch 0: z{n}"] = z
    out |= {"batch 0: logits, wave 0": tape.popped[3][1], "batch 0: logits, wave 4": tape.popped[7][1]}
    for n, (_, means, log_sigmas) in zip((3, 2, 1), tape.pushed, strict=True):
        out |= {f"batch 0: q means of z{n}": means, f"batch 0: q log sigmas of z{n}": log_sigmas}
    return out | answers


def example_vae() -> Example:
    """A codec of the family `vae` whose weights are filler, and a message of it."""
    model = Vae(VaeConfig(height=HEIGHT, width=WIDTH, hidden=3, layers=2, latents=2, steps_per_unit=4))
    fill_layers(model)
    tape, out, answers = first_batch(model, "vae")
    (z, means, log_sigmas), (x, logits) = tape.popped
    out |= {"batch 0: p means": means, "batch 0: p log sigmas": log_sigmas, "batch 0: z": z}
    out |= {"batch 0: logits of image 0": logits[: HEIGHT * WIDTH]}
    out["batch 0: image 0"] = "".join(map(str, x[: HEIGHT * WIDTH]))
    ((_, means, log_sigmas),) = tape.pushed
    return out | {"batch 0: q means": means, "batch 0: q log sigmas": log_sigmas} | answers


EXAMPLES = {name.removeprefix("example_"): f for name, f in list(globals().items()) if name.startswith("example_")}


def test_every_example_is_known():
    assert sorted(written()) == sorted(EXAMPLES)


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_is_what_the_code_computes(name):
    assert written()[name] == {key: text(value) for key, value in EXAMPLES[name]().items()}
