"""The campaign of benchmarks/reliability.py in short: nothing happens that must not."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = """
import json, sys
sys.path.insert(0, sys.argv[1])
from reliability import DAMAGES, FORBIDDEN, campaign
found = campaign(60, 1, without=("killed", "codec"), most=20)
print(json.dumps([found, list(FORBIDDEN), len(DAMAGES)]))
"""


def test_a_short_campaign_finds_nothing():
    """In a process of its own, as it forks."""
    done = subprocess.run(
        [sys.executable, "-c", SHORT, ROOT / "benchmarks"], capture_output=True, text=True, check=True
    )
    result, forbidden, damages = json.loads(done.stdout)
    assert damages == 21
    assert result["cases"] == sum(result["outcomes"].values()) == 20
    assert {kind.partition(":")[0] for kind in result["kinds"]} == {"damaged", "hostile", "full disk"}
    assert [result["outcomes"][one] for one in forbidden] == [0] * len(forbidden), result["found"]
