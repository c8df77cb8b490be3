"""Who is told of the progress of a training run."""

from __future__ import annotations

from typing import Any, Protocol


class Watcher(Protocol):
    """Receives the events of a run; the command line makes lines and a progress bar of them."""

    def started(self, facts: dict[str, Any]) -> None:
        """Before the first step: the model, its size and settings, and the images."""

    def step(self, event: dict[str, Any]) -> None:
        """A few times a second: step, share, bits_per_dim, images_per_second, seconds_left."""

    def report(self, event: dict[str, Any]) -> None:
        """After each validation: {train,valid,rate}_bits_per_dim, exact, best."""

    def note(self, line: str) -> None:
        """A line for the user."""


class SilentWatcher:
    """A watcher that ignores all events."""

    def started(self, facts: dict[str, Any]) -> None:
        """Ignore the facts."""

    def step(self, event: dict[str, Any]) -> None:
        """Ignore the step."""

    def report(self, event: dict[str, Any]) -> None:
        """Ignore the validation."""

    def note(self, line: str) -> None:
        """Ignore the line."""
