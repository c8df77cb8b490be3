"""Where the time of a command goes: a thread looks at what the others do, a thousand times a second.

    python benchmarks/sampling.py OUT COMMAND [ARGUMENT...]     # as `bbcodec COMMAND ...`; seconds as JSON in OUT

A place is a phase, by the innermost function that starts one, and a room, by the innermost function whose file has a
mark. What compiled code does belongs to the function that called it. Only the standard library is imported here, so
that the imports of the command count as its own.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from types import FrameType
from typing import Any

INTERVAL = 0.001  # seconds
SWITCH = 0.0002  # seconds that the sampler waits for the interpreter before it asks for it

# What starts a phase: the end of a file name, and a function in it, or any.
PHASES: dict[str, tuple[tuple[str, str], ...]] = {
    "known answers": (("codec/known_answers.py", ""),),
    "codec file": (("codec/file.py", "load_codec"),),
    "check of the result": (("archive/compress.py", "_verify_written"),),
}
START, WORK = "start-up", "work"
# Whose marks are in the name of the file.
ROOMS: dict[str, tuple[str, ...]] = {
    "compiled code, loaded": ("/numba/", "/llvmlite/"),
    "engine": ("bbcodec/engine/",),
    "coder kernels": ("bbcodec/coder/", "bbcodec/distributions/"),
    "network": ("/torch/", "bbcodec/exact/", "/models/"),
    "classical trials": ("/PIL/", "/imagecodecs/", "images/codings/", "images/formats/webp.py"),
    "files and digests": ("bbcodec/archive/", "bbcodec/images/", "bbcodec/binary.py", "bbcodec/atomic_files.py"),
}
IMPORTS, WAITING, REST = "imports", "waiting", "the rest"
IDLE = ("/threading.py", "/concurrent/futures/", "/multiprocessing/", "/selectors.py", "/queue.py", "/subprocess.py")

Place = tuple[str, str]  # phase and room


def place_of(frame: FrameType | None) -> Place:
    """Phase and room of a thread whose innermost frame this is."""
    phase, room, idle = "", "", True
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if not room:
            room = IMPORTS if is_import(frame) else room_of(file, idle)
        idle = False
        phase = phase or phase_of(file, function)
        frame = frame.f_back
    return phase or (START if room == IMPORTS else WORK), room or REST


def is_import(frame: FrameType) -> bool:
    """Whether a function imports: it is of importlib, or the body of a module that importlib runs."""
    caller = frame.f_back
    body = frame.f_code.co_name == "<module>" and caller is not None and "importlib" in caller.f_code.co_filename
    return body or "importlib" in frame.f_code.co_filename


def room_of(file: str, innermost: bool) -> str:
    """The room of a function of a file; empty if it has none of its own."""
    if innermost and any(mark in file for mark in IDLE):
        return WAITING
    return next((room for room, marks in ROOMS.items() if any(mark in file for mark in marks)), "")


def phase_of(file: str, function: str) -> str:
    """The phase that a function starts; empty if it starts none."""
    for phase, starts in PHASES.items():
        if any(file.endswith(end) and name in ("", function) for end, name in starts):
            return phase
    return ""


class Sampler(threading.Thread):
    """Counts the seconds between `start` and `stop` by place. Threads that run side by side share the time."""

    def __init__(self) -> None:
        """Nothing is counted yet."""
        super().__init__(daemon=True)
        self.seconds: defaultdict[Place, float] = defaultdict(float)
        self._done = False

    def run(self) -> None:
        """Look around until `stop`."""
        before, switch = time.perf_counter(), sys.getswitchinterval()
        sys.setswitchinterval(SWITCH)
        while not self._done:
            time.sleep(INTERVAL)
            now = time.perf_counter()
            frames = [frame for thread, frame in sys._current_frames().items() if thread != self.ident]
            places = [place_of(frame) for frame in frames]
            busy = [place for place in places if place[1] != WAITING] or places
            for place in busy:
                self.seconds[place] += (now - before) / len(busy)
            before = now
        sys.setswitchinterval(switch)

    def stop(self) -> dict[Place, float]:
        """Seconds by place."""
        self._done = True
        self.join()
        return dict(self.seconds)


def sampled(call: Callable[[], Any]) -> dict[Place, float]:
    """Seconds of a call by phase and room."""
    sampler = Sampler()
    sampler.start()
    try:
        call()
    finally:
        seconds = sampler.stop()
    return seconds


def by_room(seconds: dict[Place, float]) -> dict[str, float]:
    """Shares of the time by room, the largest first."""
    rooms: defaultdict[str, float] = defaultdict(float)
    for (_, room), spent in seconds.items():
        rooms[room] += spent
    total = sum(rooms.values()) or 1.0
    return {room: round(spent / total, 3) for room, spent in sorted(rooms.items(), key=lambda item: -item[1])}


def main() -> int:
    """Run a command; its exit code."""
    out, words, code = sys.argv[1], sys.argv[2:], [1]

    def command() -> None:
        from bbcodec.cli.main import main as tool

        code[0] = tool(words)

    seconds = sampled(command)
    with open(out, "w", encoding="utf-8") as stream:
        json.dump([[*place, spent] for place, spent in seconds.items()], stream)
    return code[0]


if __name__ == "__main__":
    sys.exit(main())
