"""Runs one campaign: `python -m tests.campaigns NAME [--count N] [--seed S]`, or lists them all.

Ends with what was counted, and the time it took; or, at the first case that fails, with exit status
1 and the seed.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tqdm.std import tqdm

# The helpers of the tests import each other from their folder, as pytest has it.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from campaigns import claim, load, names


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    made.add_argument("name", nargs="?", choices=names(), help="the campaign")
    made.add_argument("--list", action="store_true", help="say what each campaign proves")
    made.add_argument("--count", type=int, help="how many cases, instead of the whole campaign")
    made.add_argument("--seed", type=int, default=0, help="other cases (default: 0)")
    return made


def text_of(counts: Mapping[str, int | str]) -> str:
    """The counts as one line: 6 000 graphs, 480 as machine code."""
    shown = (f"{n:,}".replace(",", " ") if isinstance(n, int) else n for n in counts.values())
    return ", ".join(f"{value} {name}" for value, name in zip(shown, counts, strict=True))


def run(name: str, count: int | None, seed: int) -> int:
    """Run a campaign; returns the exit status."""
    campaign, started = load(name), time.perf_counter()
    total = campaign.COUNT if count is None else count
    try:
        with tqdm(total=total, desc=name, dynamic_ncols=True) as bar:
            counts = campaign.run(total, seed, lambda: bool(bar.update()))
    except Exception as error:
        traceback.print_exc()
        took = time.perf_counter() - started
        print(f"{name}: FAILED after {took:.0f} s, --count {total} --seed {seed}: {error}")
        return 1
    took = time.perf_counter() - started
    print(f"{name}: {text_of(counts)}; {took:.0f} s, --count {total} --seed {seed}")
    return 0


def main(arguments: Sequence[str]) -> int:
    given = parser()
    options = given.parse_args(arguments)
    if options.list:
        for name in names():
            campaign = load(name)
            print(f"{name} ({campaign.COUNT} cases)\n    {claim(campaign)}")
        return 0
    if options.name is None:
        given.error("name a campaign, or ask for the --list")
    return run(options.name, options.count, options.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
