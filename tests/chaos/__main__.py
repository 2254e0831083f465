"""python -m tests.chaos [--seed N] [--seeds COUNT] [--seconds S] [--only BREAK] [--calm] [--keep]"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from tests.chaos.run import Outcome, run
from tests.chaos.schedule import Break
from tests.chaos.town import Ground
from tests.parts.clock import Clock
from tests.warm import load_first


def main() -> int:
    """Live through seeds; the exit code is 0 if all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break everything, by a seed.")
    parser.add_argument("--seed", type=int, default=None, help="the first seed; any, where none is given")
    parser.add_argument("--seeds", type=int, default=1, help="how many, one after the other")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each is broken for")
    parser.add_argument("--only", choices=Break.__members__, action="append", help="break nothing else")
    parser.add_argument("--calm", action="store_true", help="break nothing: the same work, undisturbed")
    parser.add_argument("--keep", action="store_true", help="keep the logs of seeds that go well too")
    options = parser.parse_args()
    breaks = [] if options.calm else [Break[name] for name in options.only or Break.__members__]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended before its time"))  # and removes what it made
    first = random.randrange(10_000) if options.seed is None else options.seed
    with tempfile.TemporaryDirectory(prefix="blacktree-chaos-clock-") as folder:
        load_first(Clock(Path(folder) / "clock").environ)
        failed = _failed(range(first, first + options.seeds), breaks, options)
    print(f"{options.seeds - failed} of {options.seeds} seeds went well", flush=True)
    return 1 if failed else 0


def _failed(seeds: range, breaks: list[Break], options: argparse.Namespace) -> int:
    """How many of them did. After one that did the ground is laid anew."""
    failed, todo = 0, list(seeds)
    while todo:
        with Ground.laid() as ground:
            well = True
            while todo and well:
                well = _told(_lived(todo.pop(0), ground, breaks, options), options)
                failed += not well
    return failed


def _lived(seed: int, ground: Ground, breaks: list[Break], options: argparse.Namespace) -> Outcome:
    folder = Path(tempfile.mkdtemp(prefix=f"blacktree-chaos-{seed}-"))
    outcome = Outcome(seed)
    try:
        with ground.parts() as parts:
            outcome = asyncio.run(run(seed, options.seconds, folder, parts, breaks))
    except Exception:
        outcome.wrong.append(f"it broke: {traceback.format_exc()}")
    if outcome.wrong or options.keep:
        print(f"logs: {folder}", flush=True)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return outcome


def _told(outcome: Outcome, options: argparse.Namespace) -> bool:
    print(
        f"seed {outcome.seed}: {outcome.deliveries} deliveries, {outcome.runs} runs, quiet after "
        f"{outcome.quiet:.0f} s, the last previews gone after {outcome.gone:.1f} s",
        flush=True,
    )
    for sentence in outcome.wrong:
        print(f"  WRONG {sentence}", flush=True)
    if outcome.wrong:
        more = "".join(f" --only {name}" for name in options.only or [])
        print(
            f'  again: make chaos ARGS="--seed {outcome.seed} --seconds {options.seconds:g}{more}"',
            flush=True,
        )
    return not outcome.wrong


if __name__ == "__main__":
    sys.exit(main())
