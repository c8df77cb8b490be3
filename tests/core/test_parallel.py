"""Work in threads and processes: results in order, no process left behind, codecs loaded once and chosen by size."""

import multiprocessing
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from fake_codec import load_fake
from folders import COLOUR, GREY

from bbcodec import parallel as workers
from bbcodec.codec.pool import CodecPool, CodecSource
from bbcodec.errors import BBCodecError
from bbcodec.parallel import Workers, end_process, run_tasks


def pool_of(*codecs, load=load_fake):
    return CodecPool([CodecSource.of(codec) for codec in codecs], "cpu", load)


def is_gone(pid: int) -> bool:
    """Whether a process ends in two minutes. The pool's own thread may reap it, so `Process.is_alive` cannot tell."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def kill_this_process(pool, task):
    os._exit(3)


def square(pool, number):
    return number * number


def sleep_if_large(pool, seconds):
    time.sleep(seconds)
    return signal.pthread_sigmask(signal.SIG_BLOCK, [])


def names_of(pool, task):
    return [source.name for source in pool.sources], pool.codec(pool.sources[0]).channels


def resident() -> int:
    """Bytes of memory that this process holds, on Linux."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def memory_kept(pool, task):
    """Bytes that stay when all of many large blocks but the last are freed."""
    np.ones(2**20)  # 8 MB at once freed: glibc takes no smaller block from the system from now on
    before = resident()
    blocks = [np.ones(2**19) for _ in range(40)]
    del blocks[:-1]
    return resident() - before


def test_a_dead_worker_is_told():
    with pytest.raises(BBCodecError, match="a worker process died"):
        list(run_tasks(kill_this_process, [1, 2], CodecPool(), Workers(2)))


def test_workers_give_results_in_order_and_die_with_an_early_stop():
    results = run_tasks(square, range(20), CodecPool(), Workers(2))
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    processes = multiprocessing.active_children()
    assert processes
    results.close()
    assert all(is_gone(process.pid) for process in processes)


def test_workers_are_deaf_to_ctrl_c_and_killed_at_their_work():
    """A terminal interrupts the whole group: the parent alone answers, and does not wait for tasks to end."""
    results = run_tasks(sleep_if_large, [0, 100], CodecPool(), Workers(2))
    assert next(results) == {signal.SIGINT}  # and not to those that are meant for them
    processes = multiprocessing.active_children()
    results.close()
    assert all(is_gone(process.pid) for process in processes)


ENDLESS = """
import sys
from bbcodec.codec.pool import CodecPool
from bbcodec.parallel import Workers, run_tasks
from test_parallel import much
for _ in range(8):
    results = run_tasks(much, range(100), CodecPool(), Workers(2))
    next(results)
    results.close()
"""


def much(pool, number):
    return bytes(2**24)


def test_a_process_ends_whose_workers_were_killed_in_the_middle_of_a_result():
    """A pipe takes 64 kB at a time, so that most of a worker's time is writing what it returns."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent) + os.pathsep + str(Path(__file__).parents[1])}
    subprocess.run([sys.executable, "-c", ENDLESS], check=True, timeout=120, env=environment, cwd=Path(__file__).parent)


def test_stop_signals_wait_until_a_process_is_started(monkeypatch):
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
            list(run_tasks(square, range(20), CodecPool(), Workers(2)))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert len(started) == 1


def test_workers_have_the_codecs():
    assert list(run_tasks(names_of, [0], pool_of(COLOUR, GREY), Workers(2))) == [(["colour-1", "grey-1"], 3)]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries give memory back as they like")
def test_workers_give_memory_back_when_it_is_freed():
    kept = max(run_tasks(memory_kept, range(4), CodecPool(), Workers(2)))
    assert kept < 2**24
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(memory_kept, (None, 0)) > 2**26  # in a process that was not told to


def test_tasks_are_taken_no_faster_than_results():
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    results = run_tasks(square, tasks(), CodecPool(), Workers(1))
    next(results)
    assert taken == [0]
    results = run_tasks(square, tasks(), CodecPool(), Workers(2))
    assert len(taken) == 1
    next(results)
    assert len(taken) <= 1 + 6
    results.close()


# --- threads


def squares(tasks=range(20), count=2):
    return run_tasks(square, tasks, CodecPool(), Workers(count, threads=True))


def test_threads_give_results_in_order():
    assert list(squares(range(50), 3)) == [number * number for number in range(50)]
    assert list(squares([])) == []


def test_threads_share_the_context_and_work_side_by_side():
    """Of two tasks the first ends when the second has begun."""
    first, second = threading.Event(), threading.Event()

    def meet(pool, number):
        (first, second)[number].set()
        (second, first)[number].wait(60)
        return id(pool)

    pool = CodecPool()
    assert list(run_tasks(meet, [0, 1], pool, Workers(2, threads=True))) == [id(pool)] * 2


def test_tasks_of_threads_are_taken_no_faster_than_results():
    taken = []
    results = squares(taken.append(number) or number for number in range(100))
    assert not taken
    next(results)
    assert len(taken) == 6
    results.close()


def test_an_error_in_a_thread_is_raised_where_its_result_is_taken():
    def fail(pool, number):
        raise ValueError(f"number {number}")

    with pytest.raises(ValueError, match="number 7"):
        list(run_tasks(fail, [7, 8, 9], CodecPool(), Workers(2, threads=True)))


def test_threads_end_with_an_early_stop():
    before = threading.active_count()
    done = []

    def work(pool, number):
        time.sleep(0.01)
        done.append(number)

    results = run_tasks(work, range(1000), CodecPool(), Workers(2, threads=True))
    next(results)
    results.close()
    end = time.monotonic() + 120
    while threading.active_count() > before and time.monotonic() < end:
        time.sleep(0.01)
    assert threading.active_count() <= before  # those of an earlier test may have ended, too
    assert len(done) < 10  # what was waiting is not done any more


STOPPED = """
import os, signal, sys, time
from bbcodec.codec.pool import CodecPool
from bbcodec.parallel import Workers, end_process, run_tasks
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a background shell ignores
def sleep(pool, seconds):
    if seconds:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(seconds)
        sys.stdout.write("awake\\n")  # in one piece: the other thread writes, too
tasks = [0, *[float(sys.argv[1])] * 2]
try:
    list(run_tasks(sleep, tasks, CodecPool(), Workers(2, threads=True)))
except KeyboardInterrupt:
    print("interrupted")
    if sys.argv[2] == "end":
        end_process(7)
    raise
"""


def stopped(*arguments: str) -> tuple[int, list[str], str]:
    """How a process ends that Ctrl-C reaches while its threads sleep: its exit code, what it printed, what it said."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    ended = subprocess.run(
        [sys.executable, "-c", STOPPED, *arguments],
        timeout=60,
        env=environment,
        capture_output=True,
        text=True,
        cwd="/",
    )
    return ended.returncode, ended.stdout.split(), ended.stderr


def test_a_process_can_be_ended_at_once_whatever_its_threads_do():
    assert stopped("100", "end") == (7, ["interrupted"], "")


def test_the_end_of_python_waits_for_the_tasks_of_threads():
    """It would end them anywhere, and machine code in the middle of a call aborts the process then."""
    code, printed, said = stopped("1", "raise")
    assert code == -signal.SIGINT
    assert printed[:2] == ["interrupted", "awake"]
    assert said.endswith("KeyboardInterrupt\n")


def test_a_process_without_threads_ends_as_others_do():
    with pytest.raises(SystemExit) as ended:
        end_process(3)
    assert ended.value.code == 3


# --- executors of the caller


class Unlucky(Executor):
    """Loses the worker of each task so many times, and counts what is submitted."""

    def __init__(self, losses: int) -> None:
        self.losses, self.submitted = losses, []
        self.inner = ThreadPoolExecutor(2)

    def submit(self, function, /, *arguments):
        self.submitted.append(arguments[-1])
        if self.submitted.count(arguments[-1]) <= self.losses:
            lost = Future()
            lost.set_exception(OSError("worker lost"))
            return lost
        return self.inner.submit(function, *arguments)


def fail_as_bbcodec(pool, task):
    raise BBCodecError("damaged")


def test_an_executor_gives_results_in_order():
    with ThreadPoolExecutor(3) as executor:
        assert list(run_tasks(square, range(50), pool_of(GREY), Workers(2, executor=executor))) == [
            n * n for n in range(50)
        ]
        assert list(run_tasks(names_of, [0] * 4, pool_of(GREY), Workers(2, executor=executor))) == [(["grey-1"], 1)] * 4


def test_tasks_of_lost_workers_are_done_again():
    unlucky = Unlucky(losses=workers.ATTEMPTS - 1)
    assert list(run_tasks(square, range(5), pool_of(), Workers(2, executor=unlucky))) == [0, 1, 4, 9, 16]
    assert sorted(unlucky.submitted) == sorted([*range(5)] * workers.ATTEMPTS)


def test_an_executor_that_gives_up_is_told():
    with pytest.raises(BBCodecError, match=r"failed on 3 workers.*OSError worker lost"):
        list(run_tasks(square, range(5), pool_of(), Workers(2, executor=Unlucky(losses=9))))
    with ThreadPoolExecutor(1) as executor:
        pass
    with pytest.raises(BBCodecError, match="takes no more work"):
        list(run_tasks(square, range(5), pool_of(), Workers(2, executor=executor)))
    unlucky = Unlucky(losses=0)
    with pytest.raises(BBCodecError, match="damaged"):
        list(run_tasks(fail_as_bbcodec, range(1), pool_of(), Workers(2, executor=unlucky)))
    assert unlucky.submitted == [0]  # what is wrong with the task is not tried again


def test_what_waits_is_cancelled_when_the_caller_stops():
    with ThreadPoolExecutor(1) as executor:
        results = run_tasks(sleep_if_large, [0, *[0.2] * 50], pool_of(), Workers(3, executor=executor))
        next(results)
        start = time.monotonic()
        results.close()
    assert time.monotonic() - start < 5


class Forgetful(Unlucky):
    """Does each task in a process that never did one."""

    def submit(self, function, /, *arguments):
        def do():
            workers._contexts.clear()
            return function(*arguments)

        self.submitted.append(arguments[-1])
        return self.inner.submit(do)


def test_a_worker_that_lacks_the_context_gets_it():
    forgetful = Forgetful(losses=0)
    forgetful.inner = ThreadPoolExecutor(1)
    tasks = range(20)
    assert list(run_tasks(names_of, tasks, pool_of(GREY), Workers(2, executor=forgetful))) == [(["grey-1"], 1)] * 20
    assert sorted(forgetful.submitted) == sorted([*tasks, *tasks[6:]])  # those that brought no context come again


# --- the pool
