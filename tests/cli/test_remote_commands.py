"""Commands whose inputs and outputs lie in a bucket, on an S3 server that the tests start."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from folders import make_folder
from tiny_models import SIZES, pictures

import bbcodec
from bbcodec.cli.main import main

s3fs = pytest.importorskip("s3fs", reason="remote files are optional")
moto_server = pytest.importorskip("moto.server", reason="remote files are optional")

BUCKET = "s3://images"
BBCODEC = [sys.executable, "-P", "-c", "from bbcodec.cli.main import run; run()"]
TINY = [word for name, value in SIZES.items() for word in ("--set", f"{name}={value}")]


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """An S3 server, which processes started here find, too."""
    running = moto_server.ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    host, port = running.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        yield
    running.stop()


@pytest.fixture
def bucket(server) -> Iterator["s3fs.S3FileSystem"]:
    """An empty bucket."""
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir(BUCKET)
    yield system
    system.invalidate_cache()
    system.rm(BUCKET, recursive=True)


@pytest.fixture
def folder(tmp_path) -> Path:
    top = tmp_path / "in"
    make_folder(top)
    for path in top.rglob("*"):
        if path.is_symlink():
            path.unlink()
    return top


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def there(system: "s3fs.S3FileSystem", url: str) -> dict[str, bytes]:
    system.invalidate_cache()
    root = url.removeprefix("s3://")
    return {path.removeprefix(f"{root}/"): system.cat_file(path) for path in system.find(root)}


def test_a_folder_in_a_bucket_goes_through_every_command(bucket, folder, tmp_path, capsys):
    for name, content in files(folder).items():
        bucket.pipe_file(f"{BUCKET}/in/{name}", content)
    archive = f"{BUCKET}/archives/out.bb"
    options = ["--codec", "none", "--exact-files", "--jobs", "1"]
    ran = subprocess.run(
        [*BBCODEC, "compress", f"{BUCKET}/in", "-o", archive, *options],
        capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "")
    assert ran.stderr.splitlines()[-1].startswith(f"{archive}: {len(files(folder))} files")
    assert os.listdir(tmp_path) == ["in"]
    assert main(["compress", f"{BUCKET}/in", "-o", archive, *options]) == 4
    assert main(["verify", archive, "-q"]) == 0
    capsys.readouterr()
    assert main(["list", archive, "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert {file["name"] for file in listed["files"]} == set(files(folder))
    assert main(["decompress", archive, "-o", f"{BUCKET}/back", "-q"]) == 0
    assert there(bucket, f"{BUCKET}/back") == files(folder)
    assert main(["decompress", archive, "-o", str(tmp_path / "back"), "-q"]) == 0
    assert files(tmp_path / "back") == files(folder)
    assert main(["report", archive, "--html", f"{BUCKET}/report.html", "-q"]) == 0
    assert bucket.cat_file(f"{BUCKET}/report.html").startswith(b"<!")
    assert main(["report", archive, "--html", f"{BUCKET}/report.html", "-q"]) == 4


def test_workers_open_what_is_in_a_bucket(bucket, folder, tmp_path, monkeypatch):
    """They find it as it was listed. The archive is that of a copy here."""
    for name, content in files(folder).items():
        bucket.pipe_file(f"{BUCKET}/in/{name}", content)
    bbcodec.compress(f"{BUCKET}/in", tmp_path / "here.bb", codec="none")
    monkeypatch.setattr("bbcodec.remote._copy_from", None)
    with ThreadPoolExecutor(2) as executor:
        bbcodec.compress(f"{BUCKET}/in", tmp_path / "there.bb", codec="none", executor=executor, jobs=2)
    assert (tmp_path / "there.bb").read_bytes() == (tmp_path / "here.bb").read_bytes()


def test_archives_in_a_bucket_are_those_of_this_machine(bucket, folder, tmp_path):
    """But for times, which a bucket gives anew: those of the local files are made the same."""
    for name, content in files(folder).items():
        bucket.pipe_file(f"{BUCKET}/in/{name}", content)
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_file():
            path.chmod(0o644)
            seconds = bucket.info(f"{BUCKET}/in/{path.relative_to(folder).as_posix()}")["LastModified"].timestamp()
            os.utime(path, ns=(round(seconds * 10**6) * 1000,) * 2)
        elif any(path.iterdir()):
            path.chmod(0o755)
            os.utime(path, ns=(0, 0))
        else:
            path.rmdir()
    for target in (f"{BUCKET}/out.bb", str(tmp_path / "out.bb")):
        source = f"{BUCKET}/in" if target.startswith("s3:") else str(folder)
        assert main(["compress", source, "-o", target, "--codec", "none", "-q", "--jobs", "1"]) == 0
    assert bucket.cat_file(f"{BUCKET}/out.bb") == (tmp_path / "out.bb").read_bytes()


def test_a_codec_is_trained_and_used_from_a_bucket(bucket, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")  # without a compiler, which would take longer than tiny models learn
    np.save(tmp_path / "a.npy", pictures("grey", 30, 8, 8))
    bucket.put_file(str(tmp_path / "a.npy"), f"{BUCKET}/a.npy")
    words = ["train", f"{BUCKET}/a.npy", "-o", f"{BUCKET}/mine.bbc", "--model", "vlae", "-q", *TINY,
             "--epochs", "1", "--threads", "1"]  # fmt: skip
    assert main(words) == 0
    assert sorted(os.listdir(tmp_path)) == ["a.npy", "mine.bbc", "mine.training"]
    assert bucket.cat_file(f"{BUCKET}/mine.bbc") == (tmp_path / "mine.bbc").read_bytes()
    assert main(words) == 4
    capsys.readouterr()
    assert main(["evaluate", f"{BUCKET}/mine.bbc", f"{BUCKET}/a.npy", "--iwae", "0", "--no-peers", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 30


def test_what_a_bucket_refuses_is_told_in_a_line(bucket, tmp_path, capsys):
    (tmp_path / "a.txt").write_text("hello")
    cases = {
        ("list", f"{BUCKET}/none.bb"): 3,
        ("compress", f"{BUCKET}/none", "-o", "x.bb"): 3,
        ("compress", str(tmp_path / "a.txt"), "-o", "s3://no-such-bucket/x.bb"): 5,
    }
    for words, code in cases.items():
        assert main(list(words)) == code
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1
        assert "s3://" in lines[0]
