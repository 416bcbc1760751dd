"""`make chaos MINUTES=30`: everything at once for so long; `--seed N` brings a run back."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

from tests.chaos.run import Options, chaos, report, say


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=None, help="drawn and printed when not given")
    parser.add_argument("--rate", type=float, default=300.0, help="redemptions a second")
    parser.add_argument("--disk", type=int, default=6_144, help="MB for the database")
    parser.add_argument(
        "--small", action="store_true", help="report what was not reached, without failing"
    )
    given = parser.parse_args()
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    options = Options(given.minutes * 60, seed, given.rate, given.disk, quiet_s=900)
    with tempfile.TemporaryDirectory(prefix="uprp-chaos-", ignore_cleanup_errors=True) as folder:
        outcome = chaos(options, Path(folder))
    report(outcome)
    failed = bool(outcome.verdict.wrong) or (bool(outcome.missing) and not given.small)
    if failed:
        again = f"--minutes {given.minutes:g} --rate {given.rate:g} --seed {seed}"
        say(f"again: python -m tests.chaos {again}")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
