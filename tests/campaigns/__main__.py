"""Runs one campaign: `python -m tests.campaigns NAME [--count N] [--seed S]`, or lists them all.

Ends with what was counted, and the time it took; or, at the first case that fails, with exit status
1 and the seed. The campaign runs in a process of its own, so that this holds for one that dies; the
bar then shows how many cases it had done.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping, Sequence

from tqdm.std import tqdm

from tests.campaigns import claim, load, names
from tests.support.places import ROOT


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.campaigns", description=__doc__)
    made.add_argument("name", nargs="?", choices=names(), help="the campaign")
    made.add_argument("--list", action="store_true", help="say what each campaign proves")
    made.add_argument("--count", type=int, help="how many cases, instead of the whole campaign")
    made.add_argument("--seed", type=int, default=0, help="other cases (default: 0)")
    made.add_argument("--here", action="store_true", help="in this process, for a debugger")
    return made


def text_of(counts: Mapping[str, int | str]) -> str:
    """The counts as one line: 6 000 graphs, 480 as machine code."""
    shown = (f"{n:,}".replace(",", " ") if isinstance(n, int) else n for n in counts.values())
    return ", ".join(f"{value} {name}" for value, name in zip(shown, counts, strict=True))


def needs(name: str) -> str | None:
    """What to install for a campaign, as one line; None if everything is there."""
    try:
        load(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in ("tests", "staticflow"):
            raise
        extra = "torch" if error.name == "torch" else "campaigns"
        return f"{name}: needs {error.name}: pip install -e '.[{extra}]'"
    return None


def run(name: str, count: int | None, seed: int) -> int:
    """Run a campaign; returns the exit status."""
    missing = needs(name)
    if missing:
        print(missing, file=sys.stderr)
        return 1
    campaign, started = load(name), time.perf_counter()
    total = campaign.COUNT if count is None else count
    try:
        with tqdm(total=total, desc=name, mininterval=0, dynamic_ncols=True) as bar:
            counts = campaign.run(total, seed, lambda: bool(bar.update()))
    except Exception as error:
        traceback.print_exc()
        took = time.perf_counter() - started
        print(f"{name}: FAILED after {took:.0f} s, --count {total} --seed {seed}: {error}")
        return 1
    took = time.perf_counter() - started
    print(f"{name}: {text_of(counts)}; {took:.0f} s, --count {total} --seed {seed}")
    return 0


def watch(arguments: Sequence[str], options: argparse.Namespace) -> int:
    """Run a campaign in a process of its own; returns the exit status."""
    command = [sys.executable, "-X", "faulthandler", "-m", "tests.campaigns", "--here", *arguments]
    status = subprocess.run(command, cwd=ROOT, check=False).returncode
    if status < 0:
        how = signal.Signals(-status).name
        count = "" if options.count is None else f" --count {options.count}"
        print(f"\n{options.name}: DIED of {how},{count} --seed {options.seed}")
    return 1 if status else 0


def main(arguments: Sequence[str]) -> int:
    given = parser()
    options = given.parse_args(arguments)
    if options.list:
        for name in names():
            print(needs(name) or f"{name} ({load(name).COUNT} cases)\n    {claim(load(name))}")
        return 0
    if options.name is None:
        given.error("name a campaign, or ask for the --list")
    if not options.here:
        return watch(arguments, options)
    return run(options.name, options.count, options.seed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
