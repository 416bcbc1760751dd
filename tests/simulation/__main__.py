"""`make simulate SEEDS=1000`: the shipped coordinator on a virtual clock, one seed one run.

Exit codes: 0 nothing found, 1 a seed failed, 3 something that must be seen was not, or too seldom.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulation.cells import missing, report
from tests.simulation.plan import Plan, draw, kept
from tests.simulation.runs import Outcome, Tally, live, run, shrink

_TOLD_EVERY_S = 2.0
_TRACE_SHOWN = 40


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the command line asks for."""
    options = _parser().parse_args(arguments)
    if options.seed is not None:
        return _one(_plan(options), options.shrink_s)
    begun, cpu = time.monotonic(), time.process_time()
    seeds = range(options.first, options.first + options.seeds)
    tally, failed = run(seeds, _progress(options.seeds, begun))
    used = time.process_time() - cpu
    print(_summary(tally, used))
    if options.reached:
        print("\n".join(f"{count:>9,}  {what}" for what, count in sorted(tally.reached.items())))
    if failed is not None:
        _show(failed, options.shrink_s)
        return 1
    print("\n".join(report(tally.reached, options.seeds)))
    if lost := missing(tally.reached, options.seeds):
        print("reached too seldom: " + ", ".join(lost))
        return 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1_000, help="how many (default: 1000)")
    parser.add_argument("--first", type=int, default=0, help="the first one (default: 0)")
    parser.add_argument("--seed", type=int, help="run this one only, and show what happened")
    for name in ("asks", "faults"):
        what = f"with --seed: only these of its {name}, by their places from 0, or none"
        parser.add_argument(f"--{name}", type=_places, help=what)
    for name in ("processes", "partitions"):
        parser.add_argument(f"--{name}", type=int, help=f"with --seed: so many {name}")
    parser.add_argument("--reached", action="store_true", help="list everything that was reached")
    parser.add_argument(
        "--shrink-s", type=float, default=20.0, help="seconds to shorten a failure (default: 20)"
    )
    return parser


def _progress(total: int, begun: float) -> Callable[[Tally], None]:
    told = begun

    def tell(tally: Tally) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told >= _TOLD_EVERY_S:
            told = now
            rate = tally.seeds / (now - begun) * 60
            sys.stderr.write(
                f"\rsimulate: {tally.seeds:,} of {total:,} seeds, {rate:,.0f} a minute"
            )
            sys.stderr.flush()
            if tally.seeds == total:
                sys.stderr.write("\n")

    return tell


def _summary(tally: Tally, cpu_s: float) -> str:
    faults = ", ".join(f"{count:,} {kind}" for kind, count in sorted(tally.faults.items()))
    rate = tally.seeds / max(cpu_s, 0.001) * 60
    return (
        f"{tally.seeds:,} seeds ({rate:,.0f} a minute of one core), {tally.sagas:,} sagas,"
        f" {tally.crashes:,} crashes, {tally.hours:,.0f} virtual hours;"
        f" {tally.faults.total():,} faults: {faults}"
    )


def _plan(options: argparse.Namespace) -> Plan:
    """The plan of the seed, or what was asked to be left of it."""
    plan = draw(options.seed)
    if options.asks is not None:
        plan = replace(plan, asks=tuple(plan.asks[at] for at in options.asks))
    if options.faults is not None:
        plan = replace(plan, faults=tuple(plan.faults[at] for at in options.faults))
    processes = options.processes or plan.processes
    return replace(plan, processes=processes, partitions=options.partitions or plan.partitions)


def _places(text: str) -> list[int]:
    return [] if text == "none" else [int(at) for at in text.split(",")]


def _one(plan: Plan, shrink_s: float) -> int:
    outcome = live(plan)
    if outcome.problems:
        _show(outcome, shrink_s)
        return 1
    print("\n".join(outcome.plan.lines()))
    print(f"seed {plan.seed}: nothing is wrong; digest {outcome.digest}")
    return 0


def _show(failed: Outcome, shrink_s: float) -> None:
    seed = failed.plan.seed
    print(f"\nseed {seed} fails:", *failed.problems[:8], sep="\n  ")
    best = shrink(failed, shrink_s)
    print(
        f"\nthe shortest schedule found: {len(best.plan.asks)} of {len(failed.plan.asks)} asks,"
        f" {len(best.plan.faults)} of {len(failed.plan.faults)} faults"
    )
    print("\n".join(f"  {line}" for line in best.plan.lines()))
    print("what happened in it:", *best.trace[-_TRACE_SHOWN:], sep="\n  ")
    print("what is wrong then:", *best.problems[:8], sep="\n  ")
    print(f"\nreplay: python -m tests.simulation --seed {seed} {kept(best.plan)}")


if __name__ == "__main__":
    sys.exit(main())
