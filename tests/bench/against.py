"""`python -m tests.bench.against REV`: the coordinator of this tree against that of another commit.

The other one runs from a work tree in a temporary folder; servers, topics, companies and load are
the same, and the two take turns (A, B, A, B, ...), so that a machine that grows slower favours
neither. The schema is this tree's: a coordinator tolerates a newer one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from adapters.embedded.environment import Environment
from orchestrator.settings import ROOT
from tests.bench.__main__ import UPRP, Bench
from tests.bench.load import Load, say


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


def _turn(bench: Bench, load: Load, name: str, tree: Path, offered: float) -> dict[str, Any]:
    """One coordinator from its start to its end; how much it carried, and how fast it was."""
    with bench.process(name, [*UPRP, "coordinator"], "coordinator.assigned", tree) as engine:
        load.run(200, 3)
        load.run(offered, 4, patience_s=240)
        before = bench.cpu([engine])
        burst = load.run(offered, 10, patience_s=240)
        after = bench.cpu([engine])
        calm = load.run(1_000, 6)
    found = {
        "carried_per_s": round(burst.completed_per_s),
        "engine_cpu_us": round((after["engine"] - before["engine"]) / burst.done * 1e6),
        "p50_ms_at_1000": round(calm.percentile(0.50), 1),
        "p99_ms_at_1000": round(calm.percentile(0.99), 1),
    }
    say(f"  {name}: {found}")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.against", description=__doc__)
    parser.add_argument("revision", help="any commit of this repository")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--offered", type=float, default=9_000.0)
    options = parser.parse_args()
    turns: dict[str, list[dict[str, Any]]] = {"this": [], "other": []}
    with work_tree(options.revision) as other, Environment(progress=say) as servers:
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
                        turns[name].append(_turn(bench, load, name, tree, options.offered))
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
