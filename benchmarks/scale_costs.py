"""What recognising ten million or ten billion pictures costs: time, money, storage, and what limits each machine.

    python benchmarks/scale_costs.py

It reckons from what `benchmarks/scale.py` measured on two cores (reports/results/tables/scale.json) and from what is
assumed of other machines, each assumption with its source. Nothing is measured anew.
"""

import dataclasses
import sys
from typing import NamedTuple

import pandas as pd

from fer_keras.results import find_run, find_table, read_table

STAGES = ("decode", "detection", "crop", "network", "rest")
NUMBERS = {"ten million": 10_000_000, "ten billion": 10_000_000_000}
RECIPES = ("fer-small", "mini-xception", "capstone-final", "efficientnet-b5@random")
PICTURES_PER_FILE = 1024  # of faces, where there are many
FILE_NAME = "0123/0123456789abcdef.jpg"
FACE_BYTES = 48 * 48
DAY = 24 * 3600


class Assumed(NamedTuple):
    """A number that was not measured here: its value, what it is, and its source."""

    value: float
    what: str
    source: str


ASSUMED = {
    "core": Assumed(
        0.0408,
        "dollars an hour, a core",
        "m7g.large on demand in us-east-1, half of its price of June 2026, "
        "https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/",
    ),
    "gpu": Assumed(1.006, "dollars an hour, an NVIDIA A10G with its machine", "g5.xlarge, same source"),
    "flops": Assumed(
        3.12e12,
        "operations a second of a network on an A10G",
        "a guess: a tenth of the A10's peak in float32, "
        "https://sysrqmts.com/ru/gpus/compare/nvidia-a10-pcie-vs-nvidia-quadro-rtx-4000",
    ),
    "detection": Assumed(
        4.9,
        "ms a picture of 640x480 for a detector on a GPU, one at a time",
        "SCRFD-10GF on its authors' GPU, https://github.com/deepinsight/insightface/tree/master/detection/scrfd",
    ),
    "detection in batches": Assumed(
        0.18,
        "ms a picture of 320x320 for the same detector on a GPU, 16 at a time",
        "SCRFD-10GF in float16 on an RTX 5090 (a larger picture takes longer), "
        "https://huggingface.co/alonsorobots/scrfd_320_batched",
    ),
    "decode": Assumed(
        36,
        "cores that decode JPEG as fast as one GPU",
        "NVIDIA on nvJPEG on a V100: up to twice 18 cores with libjpeg-turbo; taken for any GPU, "
        "https://encode.su/threads/2968-New-nvJPEG-decoder-from-Nvidia",
    ),
    "gigabit": Assumed(125e6, "bytes a second over gigabit Ethernet", "its definition, nothing lost"),
    "requests": Assumed(
        5500,
        "files a second from one prefix of an object store",
        "https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html",
    ),
    "files": Assumed(
        2**32,
        "files at most in one ext4 file system",
        "https://docs.kernel.org/filesystems/ext4/blocks.html",
    ),
}


@dataclasses.dataclass(frozen=True)
class Site:
    """Machines that recognise pictures.

    Args:
        name: str.
        cores: int.
        gpus: int.
        on_gpu: stages that the GPUs do; `"detection in batches"` is one way of detection.
        reads: bytes a second that the storage gives; None is enough.
    """

    name: str
    cores: int
    gpus: int = 0
    on_gpu: tuple = ()
    reads: float | None = None

    @property
    def dollars(self) -> float:
        """The price of an hour."""
        return self.cores * ASSUMED["core"].value + self.gpus * ASSUMED["gpu"].value

    @property
    def rests_on(self) -> str:
        """Measurement or assumption."""
        if self.gpus:
            return "assumptions"
        return "measurement" if self.cores <= 2 else "measurement; cores add up as two do"


BATCHES = ("detection in batches", "network")
SITES = (
    Site("one core", 1),
    Site("two cores", 2),
    Site("32 cores", 32),
    Site("32 cores, the network on a GPU", 32, 1, ("network",)),
    Site("32 cores, network and detection on 8 GPUs", 32, 8, ("detection", "network")),
    Site("the same, detection in batches", 32, 8, BATCHES),
    Site("the same, decoding on the GPUs too", 32, 8, ("decode", *BATCHES)),
    Site("the same, pictures over gigabit Ethernet", 32, 8, ("decode", *BATCHES), ASSUMED["gigabit"].value),
)


def rates(site: Site, picture: dict, efficiency: float, operations: float) -> dict:
    """Compute the pictures a second of each part of a site; the slowest limits it.

    Args:
        site: `Site`.
        picture: what was measured of a picture: `"milliseconds"` of each of `STAGES` on one core, `"bytes in"`.
        efficiency: what several cores reach of the sum of their speeds, in [0, 1].
        operations: of the network, for the faces of a picture.

    Returns:
        Dict from the part's name, and the stage that takes it longest, to pictures a second.
    """
    milliseconds = picture["milliseconds"]
    on_cores = {
        stage: milliseconds[stage] for stage in STAGES if not any(each.startswith(stage) for each in site.on_gpu)
    }
    cores = site.cores * (efficiency if site.cores > 1 else 1)
    result = {f"cores: {max(on_cores, key=on_cores.get)}": 1000 * cores / sum(on_cores.values())}
    on_gpus = {
        "decode": milliseconds["decode"] / 1000 / ASSUMED["decode"].value,
        "detection": ASSUMED["detection"].value / 1000,
        "detection in batches": ASSUMED["detection in batches"].value / 1000,
        "network": operations / ASSUMED["flops"].value,
    }
    if site.on_gpu:
        seconds = {stage: on_gpus[stage] for stage in site.on_gpu}
        result[f"GPUs: {max(seconds, key=seconds.get)}"] = site.gpus / sum(seconds.values())
    if site.reads:
        result["storage"] = site.reads / picture["bytes in"]
    return result


def costs(measured: dict, multiply_adds: int, *, sites: tuple = SITES) -> pd.DataFrame:
    """Compute time and money for so many pictures, one row per site.

    Args:
        measured: the recorded table `scale`.
        multiply_adds: of the network, for one face.
        sites: tuple of `Site`.
    """
    picture, efficiency = measured["figures"]["a picture"], parallel_efficiency(measured)
    operations = 2 * multiply_adds * picture["faces"] / picture["pictures"]
    rows = []
    for site in sites:
        each = rates(site, picture, efficiency, operations)
        limit = min(each, key=each.get)
        seconds = {name: number / each[limit] for name, number in NUMBERS.items()}
        times = {name: span(value) for name, value in seconds.items()}
        money = seconds["ten billion"] / 3600 * site.dollars
        rows.append(
            {"on": site.name, "pictures a second": each[limit], **times, "dollars for ten billion": money}
            | {"limited by": limit, "rests on": site.rests_on}
        )
    return pd.DataFrame(rows).set_index("on")


def parallel_efficiency(measured: dict) -> float:
    """Compute what two cores reach of twice one core's speed, at most 1."""
    return min(1.0, measured["recognition, two workers / one worker"]["ratio"] / 2)


def cores_for_a_week(measured: dict) -> float:
    """Compute how many cores recognise ten billion pictures in a week, without GPUs."""
    each = measured["figures"]["a picture"]["pictures a second and core"] * parallel_efficiency(measured)
    return NUMBERS["ten billion"] / (7 * DAY) / each


def storage(picture: dict) -> pd.DataFrame:
    """Compute what so many pictures need on disk and in memory, and how long it takes to read them."""
    per_picture = {
        "pictures, TB": picture["bytes in"] / 1e12,
        "faces, TB": picture["bytes out"] / 1e12,
        "files of faces": 1 / PICTURES_PER_FILE,
        "names of picture files in memory, GB": (sys.getsizeof(FILE_NAME) + 8) / 1e9,
        "reading over gigabit Ethernet, days": picture["bytes in"] / ASSUMED["gigabit"].value / DAY,
        "asking an object store for each, days": 1 / ASSUMED["requests"].value / DAY,
        "share of the files that one ext4 holds": 1 / ASSUMED["files"].value,
        "faces of 48x48 as training holds them, GB": FACE_BYTES / 1e9,
    }
    return pd.DataFrame({name: pd.Series(per_picture) * number for name, number in NUMBERS.items()})


def epochs(*recipes: str) -> pd.DataFrame:
    """Compute what an epoch of so many faces takes at the speed of recorded runs, one row per recorded recipe."""
    rows = []
    for run in filter(None, map(find_run, recipes)):
        rate = run.data["num_images"]["train"] * run.epochs_run / run.seconds
        times = {f"an epoch of {name}": span(number / rate) for name, number in NUMBERS.items()}
        rows.append({"recipe": run.recipe_name, "on": run.device, "images a second": rate, **times})
    return pd.DataFrame(rows).set_index("recipe") if rows else pd.DataFrame()


def span(seconds: float) -> str:
    """Write a time with about two digits.

    Example:

    >>> span(90), span(9000), span(900_000), span(9e8)
    ('1.5 min', '2.5 h', '10 days', '29 years')
    """
    for unit, size in (("years", 365 * DAY), ("days", DAY), ("h", 3600), ("min", 60)):
        if seconds >= (2 * size if unit in ("years", "days") else size):
            amount = seconds / size
            return f"{amount:,.{0 if amount >= 10 else 1}f} {unit}"
    return f"{seconds:,.0f} s"


def main() -> int:
    """Print all tables; exit with 1 where `benchmarks/scale.py` has recorded nothing."""
    measured = find_table("scale")
    if measured is None:
        print("Nothing is recorded: run `python benchmarks/scale.py --json reports/results/tables/scale.json` first.")
        return 1
    picture = measured["figures"]["a picture"]
    starts = {name: value for name, value in measured["figures"]["start-up"].items() if isinstance(value, float)}
    work = read_table("networks")["networks"][picture["network"]]["multiply_adds"]
    tables = {
        f"A picture on one core ({picture['kind']}, {picture['network']}), milliseconds": pd.Series(
            picture["milliseconds"]
        ).to_frame("ms"),
        "Start of workers, seconds": pd.Series(starts).to_frame("s"),
        "Memory a worker, MB": pd.DataFrame(measured["figures"]["memory a worker in MB"]),
        "Ten million and ten billion pictures": costs(measured, work),
        "Storage": storage(picture),
        "Training at the speed of recorded runs": epochs(*RECIPES),
        "Assumed": pd.DataFrame(ASSUMED.values()).set_index("what"),
    }
    with pd.option_context(
        "display.width", 1000, "display.max_colwidth", None, "display.float_format", "{:,.4g}".format
    ):
        for title, table in tables.items():
            print(f"{title}\n{table.to_string()}\n")
    print(f"Ten billion pictures in a week, without GPUs: {cores_for_a_week(measured):,.0f} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
