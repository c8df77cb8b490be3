"""The campaign of benchmarks/reliability.py in short: nothing happens that must not."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from harm import DAMAGES, make_corpus
from reliability import CASES, Campaign, FORBIDDEN, wanted
campaign = Campaign(1, Path(sys.argv[2]), {}, codec=False)
again = Path(sys.argv[2], "again")
again.mkdir()
assert make_corpus(again, 1, "none").archive == campaign.corpus.archive
for name in wanted(campaign, 0, {"damaged": 12, "hostile": 12, "full disk": 3, "hole": 2}):
    campaign.do(name)
again = Campaign.__new__(Campaign)  # one that goes on has nothing left to do
again.seed, again.done = 1, campaign.done
assert not list(wanted(again, 0, {"damaged": 12, "hole": 1}))
print(json.dumps([campaign.result(), list(FORBIDDEN), len(DAMAGES)]))
"""
ENDS = """
import json, os, sys, time
sys.path.insert(0, sys.argv[1])
from reliability import outcome_of
def spin():
    while True: pass
works = [lambda: "told", lambda: "wrong a.png", lambda: 1 // 0, lambda: os.kill(os.getpid(), 11), spin]
works.append(lambda: len(bytearray(2**33)) and "harmless")
print(json.dumps([outcome_of(work, 1)[:2] for work in works]))
"""


def printed(script: str, *words: str | Path) -> list:
    """In a process of its own, as it forks."""
    line = [sys.executable, "-c", script, ROOT / "benchmarks", *words]
    return json.loads(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def test_a_short_campaign_finds_nothing(tmp_path):
    result, forbidden, damages = printed(SHORT, tmp_path)
    assert damages == 21
    assert result["cases"] == sum(result["outcomes"].values()) == 29
    counts = {kind.partition(":")[0]: 0 for kind in result["kinds"]}
    for kind, row in result["kinds"].items():
        counts[kind.partition(":")[0]] += row["cases"]
    assert counts == {"damaged": 12, "hostile": 12, "full disk": 3, "hole": 2}
    assert result["outcomes"]["repaired"] == 2
    assert [result["outcomes"][one] for one in forbidden] == [0] * len(forbidden), result["found"]


def test_ends_are_told_apart():
    assert printed(ENDS) == [
        ["told", ""],
        ["wrong", "a.png"],
        ["bug", "ZeroDivisionError: integer division or modulo by zero"],
        ["crash", ""],
        ["slow", ""],
        ["bug", "MemoryError: "],
    ]
