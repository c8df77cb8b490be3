"""Work in processes: results in order, no process left behind, codecs loaded once and chosen by size."""

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from fake_codec import fake_codec, familiar, load_fake, load_hasty, load_lying
from folders import BITS, COLOUR, GREY, noise

from bbcodec import parallel as workers
from bbcodec.archive.format.container import LearnedBody
from bbcodec.binary import digest64
from bbcodec.errors import BBCodecError, DamagedArchive, InputError
from bbcodec.options import Setting
from bbcodec.parallel import Bench, CodecSource, run_tasks


def bench_of(*codecs, load=load_fake):
    return Bench([CodecSource.of(codec) for codec in codecs], "cpu", load)


def is_gone(pid: int) -> bool:
    """Whether a process ends within 30 s. The pool's own thread may reap it, so `Process.is_alive` cannot tell."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def kill_this_process(bench, task):
    os._exit(3)


def square(bench, number):
    return number * number


def sleep_if_large(bench, seconds):
    time.sleep(seconds)
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def names_of(bench, task):
    return [source.name for source in bench.sources], bench.codec(bench.sources[0]).channels


def resident() -> int:
    """Bytes of memory that this process holds, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_kept(bench, task):
    """Bytes that stay when all of many large blocks but the last are freed."""
    np.ones(2**20)  # 8 MB at once freed: glibc takes no smaller block from the system from now on
    before = resident()
    blocks = [np.ones(2**19) for _ in range(40)]
    del blocks[:-1]
    return resident() - before


def test_a_dead_worker_is_told():
    with pytest.raises(BBCodecError, match="a worker process died"):
        list(run_tasks(kill_this_process, [1, 2], Bench(), 2))


def test_workers_give_results_in_order_and_die_with_an_early_stop():
    results = run_tasks(square, range(20), Bench(), 2)
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    processes = multiprocessing.active_children()
    assert processes
    results.close()
    assert all(is_gone(process.pid) for process in processes)


def test_workers_are_deaf_to_ctrl_c_and_killed_at_their_work():
    """A terminal interrupts the whole group: the parent alone answers, and does not wait for tasks to end."""
    results = run_tasks(sleep_if_large, [0, 100], Bench(), 2)
    assert next(results) == {signal.SIGINT}  # and not to those that are meant for them
    processes = multiprocessing.active_children()
    results.close()
    assert all(is_gone(process.pid) for process in processes)


ENDLESS = """
import sys
from bbcodec.parallel import Bench, run_tasks
from test_workers import much
for _ in range(8):
    results = run_tasks(much, range(100), Bench(), 2)
    next(results)
    results.close()
"""


def much(bench, number):
    return bytes(2**26)


def test_a_process_ends_whose_workers_were_killed_in_the_middle_of_a_result():
    """A pipe takes 64 kB at a time, so that most of a worker's time is writing what it returns."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent) + os.pathsep + str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", ENDLESS], check=True, timeout=120, env=environment, cwd=Path(__file__).parent)


def test_processes_are_started_undisturbed(monkeypatch):
    """A signal that comes meanwhile is answered afterwards: a child half started would write a traceback."""
    started = []

    class Pool(workers.ProcessPoolExecutor):
        def submit(self, *arguments):
            threading.Thread(target=signal.raise_signal, args=[signal.SIGTERM]).start()  # as another thread may
            time.sleep(0.1)
            started.append(super().submit(*arguments))
            return started[-1]

    def end(*_):
        raise TimeoutError

    monkeypatch.setattr(workers, "ProcessPoolExecutor", Pool)
    before = signal.signal(signal.SIGTERM, end)
    try:
        with pytest.raises(TimeoutError):
            list(run_tasks(square, range(20), Bench(), 2))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(started) == 1


def test_workers_have_the_codecs():
    assert list(run_tasks(names_of, [0], bench_of(COLOUR, GREY), 2)) == [(["colour-1", "grey-1"], 3)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give memory back as they like")
def test_workers_give_memory_back_when_it_is_freed():
    kept = max(run_tasks(memory_kept, range(4), Bench(), 2))
    assert kept < 2**24
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(memory_kept, (None, 0)) > 2**26  # in a process that was not told to


def test_tasks_are_taken_no_faster_than_results():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    results = run_tasks(square, tasks(), Bench(), 1)
    next(results)
    assert taken == [0]
    results = run_tasks(square, tasks(), Bench(), 2)
    assert len(taken) == 1
    next(results)
    assert len(taken) <= 1 + 6
    results.close()


# --- the bench


def test_codecs_are_loaded_once_and_when_needed():
    loaded = []

    def load(content, device):
        loaded.append(device)
        return load_fake(content, device)

    bench = bench_of(GREY, COLOUR, load=load)
    assert loaded == []
    assert bench.codec(bench.sources[0]) is bench.codec(bench.sources[0])
    assert loaded == ["cpu"]


def test_messages_come_back_and_say_what_they_hold():
    bench = bench_of(GREY, COLOUR, BITS)
    stacks = familiar(count=3), familiar(channels=3, count=2), familiar(levels=2, count=1)
    for source, images in zip(bench.sources, stacks, strict=True):
        body, bits = bench.encode(source, images)
        assert (body.codec_id, body.digest) == (source.digest[:4], digest64(images.tobytes()))
        assert (body.count, body.height, body.width) == images.shape[:3]
        assert bits.sum() == 8 * len(body.message)
        found, decoded = bench.decode(LearnedBody.unpack(body.pack()))
        assert found is source
        assert np.array_equal(decoded, images)


def test_the_codec_that_is_shortest_is_chosen():
    others = fake_codec("wasteful", waste=50), fake_codec("other", number=1), fake_codec("small", side=7)
    bench = bench_of(*others, GREY, COLOUR)
    assert bench.choose(familiar(count=5), 256).name == "grey-1"
    assert bench.choose(familiar(count=5, number=1), 256).name == "other"
    assert bench.choose(familiar(channels=3, count=5), 256).name == "colour-1"
    assert bench.choose(familiar(count=5), 2) is None
    assert bench.choose(familiar(channels=2, count=5), 256) is None


def test_codecs_for_other_sizes_are_not_chosen_among_several():
    assert bench_of(fake_codec("a", side=7), fake_codec("b", side=8)).choose(familiar(count=5), 256) is None
    alone = bench_of(fake_codec("a", side=7))
    with pytest.raises(InputError):
        alone.encode(alone.choose(familiar(count=5), 256), familiar(count=5))


def test_codecs_are_chosen_on_a_few_images(monkeypatch):
    monkeypatch.setattr(workers, "SAMPLE_VALUES", 2 * 24 * 24)
    seen = []

    class Watching:
        def __init__(self, content, device):
            self.codec = load_fake(content, device)

        def encode_message(self, images, bits):
            seen.append(len(images))
            return self.codec.encode_message(images, bits)

    bench_of(GREY, fake_codec("other", number=1), load=Watching).choose(familiar(count=50), 256)
    assert seen == [2, 2]


def test_other_pixels_are_tried_again_on_the_safe_path():
    images = familiar(count=3)
    bench = bench_of(GREY, load=load_hasty)
    body, _ = bench.encode(bench.sources[0], images)
    assert np.array_equal(bench.decode(body)[1], images)
    assert not bench.codec(bench.sources[0]).safe
    bench = bench_of(GREY, load=load_lying)
    with pytest.raises(DamagedArchive, match="digest differs"):
        bench.decode(body)
    assert not bench.codec(bench.sources[0]).safe


def test_learned_chunks_that_cannot_be_are_damage():
    bench = bench_of(GREY)
    body, _ = bench.encode(bench.sources[0], familiar(count=3))
    for changes in ({"codec_id": b"none"}, {"count": 4}, {"width": 25}, {"message": b"junk"}, {"count": 2**28}):
        with pytest.raises(DamagedArchive):
            bench.decode(LearnedBody(**{**vars(body), **changes}))


@pytest.mark.parametrize(
    ("setting", "values", "learned", "processes"),
    [
        (Setting(4, "cpu"), 2**30, True, 4), (Setting(4, "cpu"), 100, True, 1), (Setting(4, "cuda"), 2**30, True, 1),
        (Setting(4, "cuda"), 2**30, False, 4),
    ],
)  # fmt: skip
def test_small_work_and_work_on_a_gpu_is_done_here(setting, values, learned, processes):
    assert setting.processes(values, learned) == processes


def test_noise_is_long_to_the_fake_and_familiar_images_are_short():
    """What the tests of archives build on."""
    bench = bench_of(GREY)
    assert len(bench.encode(bench.sources[0], noise(1, 24, 24, 1))[0].message) > 24 * 24
    assert len(bench.encode(bench.sources[0], familiar(count=1))[0].message) < 100
