"""Tasks are coded, and parts of large files joined."""

import pickle

import numpy as np
from folders import save

from bbcodec.archive.write.encode import encode_task
from bbcodec.archive.write.scan import scan
from bbcodec.archive.write.tasks import ArrayTask, TileTask, opened, plan
from bbcodec.codec.pool import CodecPool
from bbcodec.options import StorageOptions


def test_results_of_large_files_come_back_without_their_pixels(tmp_path):
    """All of one file wait for each other."""
    np.savez(tmp_path / "a.npz", images=np.zeros((500, 40, 40), np.uint8), rest=np.zeros(10**5))
    save(tmp_path / "b.png", np.zeros((800, 800, 3), np.uint8))
    tasks = list(opened(plan(scan([tmp_path]).entries, {}, StorageOptions(), lambda mode: 2**17)))
    assert {type(task) for task in tasks} == {ArrayTask, TileTask}
    for task in tasks:
        coded = encode_task(CodecPool(), task)
        assert len(pickle.dumps(task)) > 10**5
        assert len(pickle.dumps(coded)) < 10**4
        if isinstance(task, ArrayTask):
            plain = isinstance(task.content, bytes)
            length = len(task.content) if plain else task.content.pixels.nbytes
            assert sum(one.length for one in coded.ways[0].chunks) in (0, length)
            assert coded.shape == (() if plain else task.content.pixels.shape)
