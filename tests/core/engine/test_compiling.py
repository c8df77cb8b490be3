import os
import subprocess
import sys

import numpy as np
import pytest

from bbcodec.engine import compiling
from bbcodec.engine.compiling import FEATURES, VARIABLE, Kernels, available, choose
from bbcodec.engine.rans import push_intervals
from bbcodec.errors import InputError


def test_the_fastest_kernels_are_chosen_unless_the_environment_says_otherwise(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert choose().name == available()[0]
    for name in available():
        monkeypatch.setenv(VARIABLE, name)
        assert choose().name == name


def test_unknown_kernels_are_refused_by_name(monkeypatch):
    monkeypatch.setenv(VARIABLE, "sse9")
    with pytest.raises(InputError, match="BBCODEC_KERNELS: no such kernels: 'sse9', expected one of avx512vnni, avx"):
        choose()


def test_kernels_that_the_cpu_lacks_are_refused(monkeypatch):
    monkeypatch.setattr(compiling, "host_features", lambda: {"avx2": True})
    assert available() == ["avx2", "portable"]
    monkeypatch.setenv(VARIABLE, "avx512vnni")
    with pytest.raises(
        InputError, match=r"BBCODEC_KERNELS: kernels 'avx512vnni' need avx512f, .*, which this CPU lacks"
    ):
        choose()


def test_portable_kernels_need_nothing():
    assert FEATURES["portable"] == ()
    assert available()[-1] == "portable"


PROGRAM = """
import numpy as np
from bbcodec.engine import compiling
from bbcodec.engine.rans import push_intervals
from bbcodec.errors import InputError
for name in compiling.available():
    words, ones = np.zeros(4, np.uint32), np.ones(1, np.int32)
    push_intervals(compiling.Kernels(name), np.full(1, 1 << 31, np.uint64), words, 0, ones, ones, 24)
print(sum(push_intervals.stats.cache_hits.values()), sum(push_intervals.stats.cache_misses.values()))
"""


def test_machine_code_is_kept_for_each_instruction_set(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    count = len(available())

    def run():
        done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True)
        return tuple(map(int, done.stdout.split()))

    assert run() == (0, count)
    assert run() == (count, 0)


def test_kernels_have_no_value_at_run_time():
    words, ones = np.zeros(4, np.uint32), np.ones(1, np.int32)
    results = []
    for name in available():
        heads = np.full(1, 1 << 31, np.uint64)
        push_intervals(Kernels(name), heads, words, 0, ones, ones, 24)
        results.append(int(heads[0]))
    assert results == [(1 << 55) + 1] * len(results)
