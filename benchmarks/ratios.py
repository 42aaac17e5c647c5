"""What the benchmarks share: pieces of work timed in turn, and the ratios between them."""

import argparse
import dataclasses
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

from fer_keras.paths import write_changed


@dataclasses.dataclass(frozen=True)
class Ratio:
    """One ratio of a benchmark: `factor` times the seconds of one piece over those of another.

    The ratio is that of the fastest rounds, as `timeit` advises: what else a machine does only ever adds time. The
    rounds' own ratios give the spread.

    Args:
        name: what is measured.
        against: the alternative that it is measured against, in the same rounds.
        above, below: seconds, a float for each round.
        factor: float.
        goal: float, or None.
        at_most: whether the goal is an upper bound; it is a lower one if not.
        scale: what was measured, in units, so that the ratio can be placed.
    """

    name: str
    against: str
    above: list
    below: list
    factor: float = 1.0
    goal: float | None = None
    at_most: bool = False
    scale: str = ""

    @property
    def key(self):
        """What the ratio is called in a record."""
        return f"{self.name} / {self.against}"

    @property
    def value(self):
        """The ratio of the fastest rounds."""
        return self.factor * min(self.above) / min(self.below)

    @property
    def by_processor(self):
        """The ratio of the processor time over all rounds, which other work on the machine hardly touches; or None."""
        times = [getattr(seconds, "processor", 0) for seconds in (self.above, self.below)]
        return self.factor * times[0] / times[1] if all(times) else None

    @property
    def rounds(self):
        """The ratio of each round."""
        return [self.factor * a / b for a, b in zip(self.above, self.below, strict=True)]

    @property
    def bound(self):
        """The goal in words, empty if there is none."""
        return "" if self.goal is None else f"{'at most' if self.at_most else 'at least'} {self.goal:g}"

    @property
    def met(self):
        """Whether the median meets the goal; None without a goal."""
        if self.goal is None:
            return None
        return self.value <= self.goal if self.at_most else self.value >= self.goal


def arguments(description):
    """The options of the command line: `quick` and `json`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--quick", action="store_true", help="a few steps, to see that it runs; the ratios mean nothing"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="put the ratios into this JSON file, beside others")
    return parser.parse_args()


class Seconds(list):
    """The seconds of a piece in each round; `processor` is its processor time over all rounds."""

    processor = 0.0


def seconds_in_turn(pieces, rounds):
    """Time functions in turn, so that whatever else the machine does falls on all of them alike.

    Each is called once untimed; every round then starts with another one.

    Args:
        pieces: dict of functions without arguments.
        rounds: int.

    Returns:
        Dict of `Seconds`, those of each function in each round.
    """
    names = list(pieces)
    for name in names:
        pieces[name]()
    seconds = {name: Seconds() for name in names}
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            started, worked = time.perf_counter(), time.process_time()
            pieces[name]()
            seconds[name].append(time.perf_counter() - started)
            seconds[name].processor += time.process_time() - worked
        print(f"round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return seconds


def machine(*packages):
    """In words what the numbers were measured on."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    return f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}, {versions}"


def show(ratios, where, rounds):
    """Print a table of ratios, then a line for each goal."""
    print(f"{where}\nFastest of {rounds} rounds against fastest; the rounds' own lowest and highest in brackets.\n")
    rows = [("what", "against", "ratio", "by processor time", "goal", "measured")]
    for ratio in ratios:
        spread = f"{ratio.value:.3g} [{min(ratio.rounds):.3g}, {max(ratio.rounds):.3g}]"
        processor = f"{ratio.by_processor:.3g}" if ratio.by_processor else ""
        rows.append((ratio.name, ratio.against, spread, processor, ratio.bound, ratio.scale))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()
    for ratio in ratios:
        if ratio.goal is not None:
            print(f"{'met' if ratio.met else 'NOT MET'}: {ratio.key} is {ratio.value:.3g}, goal {ratio.bound}")


def write(ratios, where, rounds, path):
    """Put ratios into a JSON file by name; what other benchmarks have put there stays."""
    entries = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    for ratio in ratios:
        entries[ratio.key] = {
            "against": ratio.against,
            "goal": ratio.goal,
            "goal_is": "at most" if ratio.at_most else "at least",
            "machine": where,
            "met": ratio.met,
            "measured": ratio.scale,
            "ratio": round(ratio.value, 4),
            "ratio_by_processor": ratio.by_processor and round(ratio.by_processor, 4),
            "ratio_high": round(max(ratio.rounds), 4),
            "ratio_low": round(min(ratio.rounds), 4),
            "rounds": rounds,
        }
    write_changed(path, json.dumps(entries, sort_keys=True, indent=1) + "\n")
