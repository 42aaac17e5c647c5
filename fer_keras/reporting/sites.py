"""Where pictures may be recognised by the million, what that is assumed to be like, and what limits each place."""

import dataclasses
from typing import NamedTuple

STAGES = ("decode", "detection", "crop", "network", "rest")


class Assumed(NamedTuple):
    """A figure that was not measured here: its value, what it is, and who says so."""

    value: float
    words: str
    source: str


ASSUMED = {
    "core": Assumed(
        0.0408,
        "dollars an hour, a core",
        "m7g.large on demand in us-east-1, half of its price of June 2026 "
        "([FactualMinds](https://www.factualminds.com/blog/amazon-ec2-on-demand-pricing-instance-families-2026/))",
    ),
    "gpu": Assumed(1.006, "dollars an hour, an NVIDIA A10G with its machine", "g5.xlarge, same source"),
    "flops": Assumed(
        3.12e12,
        "operations a second of a network on an A10G",
        "a tenth of the A10's peak in float32, [31.2e12]"
        "(https://sysrqmts.com/ru/gpus/compare/nvidia-a10-pcie-vs-nvidia-quadro-rtx-4000); the tenth is a guess",
    ),
    "detection": Assumed(
        4.9,
        "ms a picture of 640x480 for a detector on a GPU, one at a time",
        "SCRFD-10GF on its authors' GPU, in "
        "[InsightFace's table](https://github.com/deepinsight/insightface/tree/master/detection/scrfd)",
    ),
    "detection in batches": Assumed(
        0.18,
        "ms a picture of 320x320 for the same detector on a GPU, 16 at a time",
        "SCRFD-10GF in float16 on an RTX 5090, in "
        "[its batched export](https://huggingface.co/alonsorobots/scrfd_320_batched); a larger picture takes longer",
    ),
    "decode": Assumed(
        36,
        "cores that decode JPEG as fast as one GPU",
        "NVIDIA's claim for nvJPEG on a V100, up to twice 18 cores with libjpeg-turbo, as "
        "[reported](https://encode.su/threads/2968-New-nvJPEG-decoder-from-Nvidia); taken for any GPU",
    ),
    "gigabit": Assumed(125e6, "bytes a second over gigabit Ethernet", "its definition, nothing lost"),
    "requests": Assumed(
        5500,
        "files a second from one prefix of an object store",
        "[Amazon S3](https://docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html)",
    ),
    "files": Assumed(
        2**32,
        "files at most in one ext4 file system",
        "[Linux's documentation](https://docs.kernel.org/filesystems/ext4/blocks.html)",
    ),
}


@dataclasses.dataclass(frozen=True)
class Site:
    """Where pictures are recognised.

    Args:
        words: what it is.
        cores: how many.
        gpus: how many.
        on_gpu: stages that the GPUs do; `"detection in batches"` is one way of detection.
        reads: bytes a second that its storage gives; None is enough.
    """

    words: str
    cores: int
    gpus: int = 0
    on_gpu: tuple = ()
    reads: float | None = None

    @property
    def dollars(self):
        """The price of an hour."""
        return self.cores * ASSUMED["core"].value + self.gpus * ASSUMED["gpu"].value

    @property
    def rests_on(self):
        """What its figures rest on, in words."""
        if self.gpus:
            return "assumptions on GPUs" + " and storage" * bool(self.reads)
        return "measurement" if self.cores <= 2 else "measurement, and that cores add up as two do"


BATCHES = ("detection in batches", "network")
SITES = (
    Site("one core", 1),
    Site("this machine, two cores", 2),
    Site("32 cores", 32),
    Site("32 cores, the network on a GPU", 32, 1, ("network",)),
    Site("32 cores, network and detection on 8 GPUs", 32, 8, ("detection", "network")),
    Site("the same, detection in batches", 32, 8, BATCHES),
    Site("the same, decoding on the GPUs too", 32, 8, ("decode", *BATCHES)),
    Site("the same, pictures over gigabit Ethernet", 32, 8, ("decode", *BATCHES), ASSUMED["gigabit"].value),
)


def gpu_seconds(stage, milliseconds, operations):
    """Return the seconds a picture of a stage on one GPU.

    Args:
        stage: one that GPUs can do.
        milliseconds: dict of what each stage takes a core.
        operations: of the network, for the faces of a picture.
    """
    return {
        "decode": milliseconds["decode"] / 1000 / ASSUMED["decode"].value,
        "detection": ASSUMED["detection"].value / 1000,
        "detection in batches": ASSUMED["detection in batches"].value / 1000,
        "network": operations / ASSUMED["flops"].value,
    }[stage]


def rates(site, picture, efficiency, operations):
    """Return how many pictures a second each part of a site can do, a dict from its name; the slowest counts.

    Args:
        site: a `Site`.
        picture: the measured figures of a picture: `"milliseconds"` of each of `STAGES`, `"bytes in"`.
        efficiency: share of `cores` times one core's rate that several cores reach.
        operations: of the network, for the faces of a picture.
    """
    milliseconds = picture["milliseconds"]
    left = {stage: milliseconds[stage] for stage in STAGES if not any(each.startswith(stage) for each in site.on_gpu)}
    most = max(left, key=left.get)
    found = {
        f"cores, most of all {most}": 1000 * site.cores * (efficiency if site.cores > 1 else 1) / sum(left.values())
    }
    if site.on_gpu:
        seconds = {stage: gpu_seconds(stage, milliseconds, operations) for stage in site.on_gpu}
        found[f"GPUs, most of all {max(seconds, key=seconds.get)}"] = site.gpus / sum(seconds.values())
    if site.reads:
        found["storage"] = site.reads / picture["bytes in"]
    return found
