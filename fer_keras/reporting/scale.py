"""What millions of pictures cost: on paper, from what was measured on one machine and from what is assumed."""

import sys

from fer_keras.reporting.runs import find_run
from fer_keras.reporting.sentences import MISSING, percent, table
from fer_keras.reporting.sites import ASSUMED, SITES, STAGES, rates
from fer_keras.reporting.tables import find_table

TABLE = "scale"
NUMBERS = {"ten million": 10_000_000, "ten billion": 10_000_000_000}
PART = 1024  # pictures of a file of faces, where there are many
NAME = "0123/0123456789abcdef.jpg"
FACE = 48 * 48  # bytes
DAY = 24 * 3600


def measured_of(found):
    """Return what `rates` needs beside a site, from the recorded table."""
    picture = found["figures"]["a picture"]
    efficiency = min(1.0, found["recognition, two workers / one worker"]["ratio"] / 2)
    networks = (find_table("networks") or {"networks": {}})["networks"]
    operations = 2 * networks.get(picture["network"], {"multiply_adds": 0})["multiply_adds"]
    return picture, efficiency, operations * picture["faces"] / picture["pictures"]


def costs():
    """Return what pictures cost at each of `SITES`, and what limits it there, as a table."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    lines = []
    for site in SITES:
        each = rates(site, *measured_of(found))
        limit = min(each, key=each.get)
        seconds = [number / each[limit] for number in NUMBERS.values()]
        bill = f"{seconds[-1] / 3600 * site.dollars:,.0f} $"
        lines.append([site.words, f"{each[limit]:,.0f}", *map(span, seconds), bill, limit, site.rests_on])
    header = ("on", "pictures a second", *NUMBERS, "ten billion, in money", "limited by", "rests on")
    return table(header, lines)


def picture():
    """Return what was measured of one picture, stage by stage, as a table."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    one = found["figures"]["a picture"]
    whole = one["milliseconds"]["whole"]
    lines = [
        [stage, f"{one['milliseconds'][stage]:.2f}", percent(one["milliseconds"][stage] / whole, 0)]
        for stage in (*STAGES, "whole")
    ]
    said = (
        f"{one['pictures']} pictures ({one['kind']}), with `{one['network']}`: "
        f"{one['pictures a second and core']:.1f} a second and core; "
        f"{one['bytes in'] / 1e3:,.1f} kB in and {one['bytes out'] / 1e3:,.2f} kB out a picture."
    )
    return f"{table(('stage', 'ms a picture on one core', 'share'), lines)}\n\n{said}"


def workers():
    """Return how long it takes until workers begin, which share that is, and what memory each needs, as a table."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    start, memory = found["figures"]["start-up"], found["figures"]["memory a worker in MB"]
    shares = start["share of pictures on two cores"]
    lines = [
        ["import, in a new process", f"{start['import']:.1f} s"],
        ["opening network and detector", f"{start['network and detector']:.1f} s"],
        ["until Ray is there", f"{start['ray']:.1f} s"],
        ["until its first worker begins", f"{start['workers']:.1f} s"],
        *[[f"share of the time for {int(number):,} pictures", percent(shares[number])] for number in shares],
        *[[f"memory a worker, {kind}", f"{values['pss']:,.0f} MB"] for kind, values in memory.items() if values],
        *[
            [f"memory of 32 workers, {kind}", f"{32 * values['pss'] / 1024:,.0f} GB"]
            for kind, values in memory.items()
            if values
        ],
    ]
    return table(("what", "measured"), lines)


def storage():
    """Return what so many pictures are on disk and in the memory of whoever hands them out, as a table."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    one, lines = found["figures"]["a picture"], []
    for what, write, each in (
        ("pictures, TB", "{:,.1f}", one["bytes in"] / 1e12),
        ("faces, TB", "{:,.3f}", one["bytes out"] / 1e12),
        ("files of faces", "{:,.0f}", 1 / PART),
        ("names of picture files in memory, GB", "{:,.1f}", (sys.getsizeof(NAME) + 8) / 1e9),
        ("reading them over gigabit Ethernet, days", "{:,.1f}", one["bytes in"] / ASSUMED["gigabit"].value / DAY),
        ("asking an object store for each, days", "{:,.1f}", 1 / ASSUMED["requests"].value / DAY),
        ("of the files that one ext4 holds", "{:,.3f}", 1 / ASSUMED["files"].value),
        ("faces of 48x48 as training holds them, GB", "{:,.0f}", FACE / 1e9),
    ):
        lines.append([what, *[write.format(number * each) for number in NUMBERS.values()]])
    return table(("what", *NUMBERS), lines)


def assumptions():
    """Return what was not measured here, and who says so, as a table."""
    lines = [[f"{each.value:,.4g}", each.words, each.source] for each in ASSUMED.values()]
    return table(("assumed", "what", "source"), lines)


def epochs(*recipes):
    """Return what an epoch of so many faces takes at the pace of recorded runs, as a table."""
    lines = []
    for run in filter(None, map(find_run, recipes)):
        rate = run.data["num_images"]["train"] * run.epochs_run / run.seconds
        spans = [span(number / rate) for number in NUMBERS.values()]
        lines.append([run.recipe_name, f"{run.multiply_adds / 1e6:,.0f} M", run.device, f"{rate:,.0f}", *spans])
    header = ("recipe", "multiply-adds", "on", "images a second", *(f"an epoch of {number}" for number in NUMBERS))
    return table(header, lines) if lines else MISSING


def in_a_week():
    """Return how many cores recognise ten billion pictures in a week."""
    found = find_table(TABLE)
    if found is None:
        return MISSING
    one, efficiency, _ = measured_of(found)
    return f"{NUMBERS['ten billion'] / (7 * DAY) / (one['pictures a second and core'] * efficiency):,.0f}"


def span(seconds):
    """Return a time in words, with two digits or so.

    Example:

    >>> span(90), span(9000), span(900_000), span(9e8)
    ('1.5 min', '2.5 h', '10 days', '29 years')
    """
    for unit, size in (("years", 365 * DAY), ("days", DAY), ("h", 3600), ("min", 60)):
        if seconds >= (2 * size if unit in ("years", "days") else size):
            amount = seconds / size
            return f"{amount:,.{0 if amount >= 10 else 1}f} {unit}"
    return f"{seconds:,.0f} s"


BLOCKS = {
    "scale-picture": picture,
    "scale-workers": workers,
    "scale-costs": costs,
    "scale-storage": storage,
    "scale-assumed": assumptions,
    "scale-epochs": epochs,
    "scale-cores-for-a-week": in_a_week,
}
