"""Runs small enough for tests: settings, a watcher that records, and what a run has trained."""

import hashlib

import numpy as np
import torch
from tiny_models import SIZES

from bbcodec.codec.file import load_codec

TINY = {**SIZES, "batch": 8, "epochs": 3.0, "learning_rate": 0.01, "warm_up": 5, "free_nats": 0.0}


class RecordingWatcher:
    """A watcher that records all events."""

    def __init__(self):
        self.facts, self.steps, self.reports, self.notes = {}, [], [], []

    def started(self, facts):
        self.facts = facts

    def step(self, event):
        self.steps.append(event)

    def report(self, event):
        self.reports.append(event)

    def note(self, line):
        self.notes.append(line)


def trained_tensors(folder):
    """The result of a run: its steps, a digest of all tensors of its checkpoint, and the tensors of its codec."""
    state = torch.load(folder / "my.training" / "checkpoint.pt", weights_only=True)
    seen = hashlib.blake2b(digest_size=16)
    for part in (state["model"], state["average"], *(o["state"][k] for o in state["optimisers"] for k in o["state"])):
        for name, tensor in sorted(part.items()):
            seen.update(name.encode())
            seen.update(np.ascontiguousarray(torch.as_tensor(tensor).numpy()))
    codec = load_codec(folder / "my.bbc", "cpu", engine=False)
    weights = {name: tensor.numpy().tobytes() for name, tensor in codec.backend.model.state_dict().items()}
    return state["counts"]["step"], seen.hexdigest(), weights
