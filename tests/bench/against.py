"""`python -m tests.bench.against REV`: the coordinator of this tree against that of another commit.

The other one runs from a work tree in a temporary folder; servers, topics, companies and load are
the same, and the two take turns (A, B, A, B, ...), so that a machine that grows slower favours
neither. As many redemptions are under way with the one as with the other. The schema is this
tree's: a coordinator tolerates a newer one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from adapters.embedded.environment import Environment
from orchestrator.settings import ROOT
from tests.bench.__main__ import UPRP, Bench, sized
from tests.bench.load import Load, say

WARM_S: Final = 8.0  # From a coordinator's start to its window.
WINDOW_S: Final = 12.0
CALM_PER_S: Final = 500.0


@contextmanager
def work_tree(revision: str) -> Iterator[Path]:
    """The files of a commit, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="uprp-against-") as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--detach", "--quiet", str(tree), revision], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def _turn(bench: Bench, load: Load, name: str, tree: Path, in_flight: int) -> dict[str, Any]:
    """One coordinator from its start to its end; how much it carried, and how fast it was."""
    with bench.process(name, [*UPRP, "coordinator"], "coordinator.assigned", tree) as engine:
        with load.held(in_flight, patience_s=240) as held:
            time.sleep(WARM_S)
            done, before, began = held.done, bench.cpu([engine]), time.monotonic()
            time.sleep(WINDOW_S)
            done, took = held.done - done, time.monotonic() - began
            after = bench.cpu([engine])
        calm = load.run(CALM_PER_S, 6)
    found = {
        "carried_per_s": round(done / took),
        "cpu_us": {part: round((after[part] - before[part]) / done * 1e6) for part in after},
        f"p50_ms_at_{CALM_PER_S:.0f}": round(calm.percentile(0.50), 1),
        f"p99_ms_at_{CALM_PER_S:.0f}": round(calm.percentile(0.99), 1),
    }
    say(f"  {name}: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.against", description=__doc__)
    parser.add_argument("revision", help="any commit of this repository")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--in-flight", type=int, default=1_500, help="redemptions under way")
    options = parser.parse_args()
    turns: dict[str, list[dict[str, Any]]] = {"this": [], "other": []}
    with work_tree(options.revision) as other, sized(Environment(progress=say)) as servers:
        folder = servers.folder / "bench"
        folder.mkdir()
        bench = Bench(servers, folder)
        bench.prepare()
        companies = [*UPRP, "sandbox", "--data", str(folder / "books")]
        with bench.process("companies", companies, "sandbox ready") as sandbox:
            bench.sandbox = sandbox
            load = Load(bench.servers, "against")
            try:
                for _ in range(options.rounds):
                    for name, tree in (("other", other), ("this", ROOT)):
                        turns[name].append(_turn(bench, load, name, tree, options.in_flight))
            finally:
                load.close()
    _report(options.revision, turns)


def _report(revision: str, turns: dict[str, list[dict[str, Any]]]) -> None:
    rates = {
        name: statistics.median(turn["carried_per_s"] for turn in found)
        for name, found in turns.items()
    }
    out = {
        "against": revision,
        "turns": turns,
        "this_per_s": rates["this"],
        "other_per_s": rates["other"],
        "ratio": round(rates["this"] / rates["other"], 3),
    }
    sys.stdout.write(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
