"""Two processes under torchrun, on the CPU: they share archives without overlap or loss, and train one model."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import pictures

import bbcodec
from bbcodec.codec.file import load_codec

SCRIPT = str(Path(sys.executable).parent / "bbcodec")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")

# Reads for two epochs, stops within the second, and goes on in new objects from what it kept. Weights and gradients of
# rank r are r before they are shared.
LOOP = """
import json, sys
from pathlib import Path
import torch, torch.distributed as dist
from torch.utils.data import DataLoader
import bbcodec
from bbcodec.models.training.distributed import torchrun_process

def place(image):
    return torch.from_numpy(image)[0, 0, 0].long()  # each image says its number there

def epoch(position, stop=None):
    images = bbcodec.ArchiveDataset(sys.argv[2:], transform=place)
    batches = bbcodec.ChunkBatches(images, 7, rank=dist.get_rank(), ranks=dist.get_world_size(), pool=2, seed=3)
    batches.epoch, batches.first = position
    seen = []
    for number, batch in enumerate(DataLoader(images, batch_sampler=batches), position[1]):
        if number == stop:
            return seen, (position[0], number)
        dist.all_reduce(batch.sum())  # waits for the others: all have the same number of batches
        seen.append(batch.tolist())
    return seen, (batches.epoch, batches.first)

def shared():
    net = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.Linear(4, 5)).to(memory_format=torch.channels_last)
    for number, weight in enumerate(net.parameters()):
        torch.nn.init.constant_(weight, process.rank)
        if number != 2:
            weight.grad = torch.full_like(weight, number + process.rank)
    process.share_weights(net)
    process.average_gradients(net)
    return [[w.tolist(), w.grad if w.grad is None else w.grad.tolist()] for w in net.parameters()]

with torchrun_process("cpu") as process:
    whole, position = epoch((0, 0))
    again, _ = epoch(position)
    before, position = epoch(position, stop=5)
    after, position = epoch(position)
    said = {"whole": whole, "again": again, "before": before, "after": after, "end": position, "shared": shared()}
    everything = [None] * process.ranks
    dist.all_gather_object(everything, said)
names = [path.read_text() for path in Path("/proc/self/task").glob("*/comm")]  # none but on Linux
assert not any("gloo" in name for name in names), names  # such threads may abort Python at its end
if process.rank == 0:
    open(sys.argv[1], "w").write(json.dumps(everything))
"""


def torchrun(*arguments):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*TORCHRUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)


def numbers(batches):
    return [number for batch in batches for number in batch]


def test_two_processes_share_archives_and_go_on_within_an_epoch(tmp_path):
    count = 0
    for shard, sizes in enumerate(((30, 9), (51,), (5, 12))):  # images of chunks, which are arrays of a size of its own
        (tmp_path / f"{shard}").mkdir()
        for part, size in enumerate(sizes):
            images = np.random.default_rng(count).integers(0, 256, (size, 16, 16 + part), np.uint8)
            images[:, 0, 0] = count + np.arange(size)
            np.save(tmp_path / f"{shard}" / f"{part}.npy", images)
            count += size
        bbcodec.compress(tmp_path / f"{shard}", tmp_path / f"{shard}.bb", codec="none")
    (tmp_path / "loop.py").write_text(LOOP)
    done = torchrun(tmp_path / "loop.py", tmp_path / "seen.json", *(tmp_path / f"{shard}.bb" for shard in range(3)))
    assert done.returncode == 0, done.stderr
    ranks = json.loads((tmp_path / "seen.json").read_text())
    for epoch in ("whole", "again"):
        assert sorted(number for rank in ranks for number in numbers(rank[epoch])) == list(range(count))
        assert len({len(rank[epoch]) for rank in ranks}) == 1
    for rank in ranks:
        assert rank["whole"] != rank["again"] == rank["before"] + rank["after"]
        assert (len(rank["before"]), rank["end"]) == (5, [2, 0])
        for number, (weight, gradient) in enumerate(rank["shared"]):
            assert set(np.ravel(weight)) == {0}
            assert gradient is None if number == 2 else set(np.ravel(gradient)) == {number + 0.5}


@pytest.mark.slow
def test_the_command_trains_one_model(tmp_path):
    """As docs/training.md says."""
    np.save(tmp_path / "images.npy", pictures("grey", 44, 12, 10)[..., 0])
    tiny = ("hidden=8", "layers=1", "components=2", "latent_channels=0", "batch=8", "epochs=3")
    sets = [part for one in tiny for part in ("--set", one)]
    done = torchrun(
        "--no-python", SCRIPT, "train", tmp_path / "images.npy", "-o", tmp_path / "my.bbc", "--device", "cpu", *sets
    )
    assert done.returncode == 0, done.stderr
    assert "2 x CPU" in load_codec(tmp_path / "my.bbc", "cpu").card["device"]
    odd = torchrun(
        "--no-python", SCRIPT, "train", tmp_path / "images.npy", "-o", tmp_path / "odd.bbc", "--set", "batch=9"
    )
    assert odd.returncode != 0
    assert "batch is 9, expected a multiple of 2, the number of processes" in odd.stderr
    assert not (tmp_path / "odd.bbc").exists()
