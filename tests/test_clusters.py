"""Clusters of Dask and Ray: archives are those of this machine, byte for byte, also where workers are killed."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import fsspec
import numpy as np
import PIL.Image
import pytest
from clusters_here import dask_cluster, wait_until, workers_killed
from fake_codec import familiar
from folders import check_same_tree, make_folder, save

import bbcodec
from bbcodec import remote
from bbcodec.archive.write import looks
from bbcodec.archive.write import scan as scanning
from bbcodec.archive.write import tasks as planning
from bbcodec.atomic_files import TEMPORARY
from bbcodec.cli.main import main
from bbcodec.clusters import Cluster, cluster
from bbcodec.errors import BBCodecError, InputError

distributed = pytest.importorskip("distributed", reason="clusters are optional")

BBCODEC = [sys.executable, "-P", "-c", "from bbcodec.cli.main import run; run()"]


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory) -> Iterator[str]:
    with dask_cluster(tmp_path_factory.mktemp("dask")) as address:
        yield address


@pytest.fixture
def folder(tmp_path) -> Path:
    top = tmp_path / "in"
    make_folder(top)
    return top


def many(top: Path, count: int, side: int) -> Path:
    """A folder of pictures, each of a size of its own, so that each is a task."""
    for number in range(count):
        save(top / f"{number:03}.png", familiar(side, side + number, 3, seed=number))
    return top


# --- the same bytes


def test_a_dask_cluster_makes_the_archive_of_this_machine(scheduler, folder, tmp_path, capsys, careful_webp):
    options = ["--codec", "none", "--exact-files", "-q"]
    assert main(["compress", str(folder), "-o", str(tmp_path / "here.bb"), *options, "--jobs", "1"]) == 0
    there = [*options, "--distributor", "dask", "--address", scheduler]
    assert main(["compress", str(folder), "-o", str(tmp_path / "there.bb"), *there]) == 0
    assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()
    assert main(["decompress", str(tmp_path / "there.bb"), "-o", str(tmp_path / "back"), "-q"]) == 0
    check_same_tree(folder, tmp_path / "back")
    assert capsys.readouterr().err == ""


def check_kills(kind: str, scheduler: str, folder: Path, chunks: int, kills: int) -> None:
    top = many(folder / "in", chunks, 24)
    bbcodec.compress(top, folder / "here.bb", codec="none")
    with workers_killed(kind, scheduler, chunks // (kills + 1), kills) as workers:
        bbcodec.compress(top, folder / "there.bb", codec="none", executor=workers, jobs=2)
    assert len(set(workers.killed)) == kills
    assert (folder / "there.bb").read_bytes() == (folder / "here.bb").read_bytes()


def test_killed_workers_cost_nothing_but_time(scheduler, tmp_path):
    check_kills("dask", scheduler, tmp_path, 24, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_ten_killed_workers_of_200_chunks_cost_nothing_but_time(kind, scheduler, tmp_path):
    pytest.importorskip(kind, reason="a wheel of 80 MB, which `make test` does not install: pip install ray")
    check_kills(kind, scheduler, tmp_path, 200, 10)


def test_ctrl_c_leaves_nothing(scheduler, tmp_path):
    top = many(tmp_path / "in", 200, 200)
    words = ["compress", str(top), "-o", str(tmp_path / "out.bb"), "--distributor", "dask", "--address", scheduler]
    with distributed.Client(scheduler, set_as_default=False) as client:
        running = subprocess.Popen(
            [*BBCODEC, *words, "--codec", "none"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # shells let background jobs ignore it
        )
        wait_until(lambda: any(client.processing().values()))
        running.send_signal(signal.SIGINT)
        said = running.communicate(timeout=60)[1]
        assert (running.returncode, said.splitlines()[-1]) == (130, "bbcodec: interrupted")
        assert os.listdir(tmp_path) == ["in"]
        wait_until(lambda: not any(client.processing().values()))


@pytest.mark.slow
def test_a_ray_cluster_makes_the_archive_of_this_machine(tmp_path, capsys):
    """One of its own, which starts in 10 s."""
    pytest.importorskip("ray", reason="a wheel of 80 MB, which `make test` does not install: pip install ray")
    top = many(tmp_path / "in", 24, 24)
    bbcodec.compress(top, tmp_path / "here.bb", codec="none")
    words = ["compress", str(top), "-o", str(tmp_path / "there.bb"), "--codec", "none", "--distributor", "ray"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] == 24
    assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()


def test_what_a_cluster_prints_goes_nowhere(folder, tmp_path, capsys, monkeypatch):
    """Not to standard output, where the archive or JSON may go."""

    class Talking(Far):
        def submit(self, function, /, *arguments):
            print("a worker died")
            return super().submit(function, *arguments)

    monkeypatch.setattr("bbcodec.clusters.cluster", lambda kind, address: nullcontext(Cluster(Talking(), 2)))
    words = ["compress", str(folder), "-o", str(tmp_path / "out.bb"), "--codec", "none", "--distributor", "ray"]
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"] > 5


# --- what crosses the wire


class Far(Executor):
    """Workers on another machine: what they get and give is pickled, and has no path of a temporary file."""

    def __init__(self) -> None:
        self.inner, self.sizes = ThreadPoolExecutor(2), []

    def submit(self, function, /, *arguments):
        sent = pickle.dumps((function, arguments))
        assert TEMPORARY.encode() not in sent
        self.sizes.append(len(sent))
        return self.inner.submit(lambda: pickle.loads(pickle.dumps(_call(sent))))


def _call(sent: bytes):
    function, arguments = pickle.loads(sent)
    return function(*arguments)


def test_workers_need_no_temporary_file_of_this_machine(folder, tmp_path, monkeypatch):
    """Not for inputs at URLs, and not for large images."""
    monkeypatch.setattr(planning, "LARGE_PIXELS", 2**10)
    monkeypatch.setattr(planning, "TILE_PIXELS", 2**9)
    store = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            store.pipe_file(f"/far/{path.relative_to(folder).as_posix()}", path.read_bytes())
    PIL.Image.fromarray(familiar(100, 100, 3)).save(tmp_path / "large.png")
    store.put_file(str(tmp_path / "large.png"), "/far/large.png")
    np.save(tmp_path / "array.npy", np.zeros((9, 28, 28), np.uint8))
    store.put_file(str(tmp_path / "array.npy"), "/far/array.npy")
    bbcodec.compress("memory://far", tmp_path / "here.bb", codec="none")
    bbcodec.compress("memory://far", tmp_path / "there.bb", codec="none", executor=Far(), jobs=2)
    assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()


def test_codecs_are_sent_to_few_tasks(tmp_path):
    top = many(tmp_path / "in", 30, 8)
    far = Far()
    bbcodec.compress(top, tmp_path / "out.bb", codec="photo-fast-1", executor=far, jobs=2)
    assert min(far.sizes[:6]) > 50_000 > 5_000 > max(far.sizes[6:])


def test_files_that_workers_do_not_see_are_told_not_left_out(folder, tmp_path):
    """They are there for who compresses: it is no file that vanished."""

    class Elsewhere(Far):
        def submit(self, function, /, *arguments):
            return super().submit(_in_vain)

    with pytest.raises(
        InputError, match=r"a worker said: .*a\.png cannot be read: .*; workers must see the same files"
    ):
        bbcodec.compress(folder, tmp_path / "out.bb", codec="none", executor=Elsewhere(), jobs=2)
    assert not (tmp_path / "out.bb").exists()


def _in_vain():
    raise InputError("/far/a.png cannot be read: No such file or directory")


# --- what lies at URLs


@pytest.fixture
def store(folder, tmp_path, monkeypatch) -> str:
    """A URL that other processes can open, too, of files of every kind; large ones are small here."""
    monkeypatch.setattr(planning, "TILE_PIXELS", 2**12)
    monkeypatch.setattr("bbcodec.archive.compress.TILE_PIXELS", 2**12)
    for path in folder.rglob("*"):
        if path.is_symlink():
            path.unlink()
    PIL.Image.fromarray(familiar(100, 100, 3)).save(folder / "large.png")
    (folder / "big.bin").write_bytes(os.urandom(looks.WHOLE_BYTES + 5))
    (folder / "big copy.bin").write_bytes((folder / "big.bin").read_bytes())
    return f"file://{folder}"


class Opening(Far):
    """Notes what this process copies and reads, which workers do not."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[str] = []

    def watch(self, monkeypatch) -> None:
        def read(url, *rest, inner=remote.read_url):
            if threading.current_thread() is threading.main_thread():
                self.read.append(url.rpartition("/")[2])
            return inner(url, *rest)

        monkeypatch.setattr(remote, "_copy_from", None)
        monkeypatch.setattr("bbcodec.input_files.read_url", read)


def test_workers_open_what_lies_at_urls(store, tmp_path, monkeypatch):
    """But for arrays and large images, which the driver takes apart."""
    far = Opening()
    bbcodec.compress([store, f"{store}/large.png"], tmp_path / "here.bb", codec="none", exclude=["grey"])
    with monkeypatch.context() as patch:
        far.watch(patch)
        options = {"codec": "none", "executor": far, "jobs": 2, "exclude": ["grey"]}
        bbcodec.compress([store, f"{store}/large.png"], tmp_path / "there.bb", **options)
    assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()
    assert set(far.read) == {"large.png", "both.npz", "labels.npy", "mask.npy", "stack.npy"}


@pytest.mark.parametrize(
    "options", [{"verify": False}, {"parts": "parts"}, {"shard_size": 10**6}, {"exclude": ["*.npy"]}]
)
def test_archives_of_urls_are_the_same_in_every_way(options, store, tmp_path):
    for name, more in (("here", {}), ("there", {"executor": Far(), "jobs": 2})):
        (tmp_path / name).mkdir()
        own = options | ({"parts": tmp_path / "parts"} if "parts" in options else {})
        bbcodec.compress(store, tmp_path / name / "a.bb", codec="none", **own, **more)
    made = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("here", "there")]
    assert made[0] == made[1]


def test_an_object_that_changes_is_not_taken_for_what_was_found(store, folder, tmp_path, monkeypatch):
    def listed(url, inner=scanning.list_url):
        found = inner(url)
        (folder / "notes.txt").write_text("other\n" * 50)
        return found

    monkeypatch.setattr(scanning, "list_url", listed)
    with pytest.raises(InputError, match=r"notes\.txt changed since it was found: compress again"):
        bbcodec.compress(store, tmp_path / "out.bb", codec="none", executor=Far(), jobs=2)
    assert not (tmp_path / "out.bb").exists()


def test_a_url_that_holds_nothing_is_told(tmp_path):
    with pytest.raises(InputError, match="there is no file or folder"):
        bbcodec.compress(f"file://{tmp_path}/gone", tmp_path / "out.bb", codec="none", executor=Far(), jobs=2)


# --- what is wrong is told


@pytest.mark.parametrize("words", [["--address", "tcp://127.0.0.1:1"], ["--distributor", "dask"]])
def test_a_cluster_needs_its_kind_and_dask_an_address(folder, words, capsys):
    assert main(["compress", str(folder), "-o", "out.bb", *words]) == 2
    assert capsys.readouterr().err.startswith("bbcodec: --distributor dask needs --address")


@pytest.mark.parametrize("kind", ["dask", "ray"])
def test_a_package_that_is_missing_is_told(kind, folder, tmp_path, capsys, monkeypatch):
    for package in ("dask", "distributed", "ray"):
        monkeypatch.setitem(sys.modules, package, None)
    words = ["--distributor", kind, "--address", "tcp://127.0.0.1:1"]
    assert main(["compress", str(folder), "-o", str(tmp_path / "out.bb"), *words]) == 18
    assert capsys.readouterr().err == f"bbcodec: {kind} needs the package {kind}: pip install bbcodec[{kind}]\n"


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:1", "nonsense://x"])
def test_a_cluster_that_is_not_there_is_told(address, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bbcodec.clusters.WAIT_SECONDS", 1)
    words = ["--distributor", "dask", "--address", address]
    assert main(["compress", str(folder), "-o", str(tmp_path / "out.bb"), *words]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"bbcodec: there is no Dask scheduler at {address}: ")
    assert len(said.splitlines()) == 1


def test_a_ray_cluster_that_is_not_there_is_told(monkeypatch):
    pytest.importorskip("ray", reason="a wheel of 80 MB, which `make test` does not install: pip install ray")
    start = time.monotonic()
    with (
        pytest.raises(BBCodecError, match=r"there is no Ray cluster at 127\.0\.0\.1:1: .*refused"),
        cluster("ray", "127.0.0.1:1"),
    ):
        pass
    assert time.monotonic() - start < 30
