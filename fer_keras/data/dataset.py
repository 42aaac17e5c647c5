"""`FaceDataset`: what every reader returns."""

import dataclasses
import functools
import hashlib
import sys
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from fer_keras.labels import FERPLUS_VOTES, REST, SPLITS, check_classes

if TYPE_CHECKING:
    import pandas as pd

UNPACKED = {}  # temporary folder -> the archive that is unpacked there
ARRAYS = {"labels": "integers of shape (n,)", "images": "uint8 of shape (n, height, width, 1)"}
ARRAYS |= {"split": "names of shape (n,)", "rows": "values of shape (n,)", "votes": "numbers of shape (n, 10)"}
PROTOCOLS = ("official", "course", "folders", "four-fifths", "raf-db", "joined", "own", "drawn")


class DataError(ValueError):
    """Data that cannot be read as what it should be; the message names the file and, where there is one, the row."""


class Problems:
    """The faults of one source: `on_error="raise"` raises the first, `"skip"` collects `.messages`."""

    def __init__(self, on_error="raise"):
        check_known("on_error", [on_error], ("raise", "skip"))
        self.on_error, self.messages = on_error, []

    def add(self, file, where, message):
        """Raise or note one fault of `file`; `where` names the row (`"line 7"`), or is None for the file itself."""
        text = printable(f"{file}{f', {where}' if where else ''}: {message}")
        if self.on_error == "raise":
            raise DataError(f"{text} Repair or remove it, or pass on_error='skip' to read the rest.")
        self.messages.append(text)

    def describe(self, source):
        """`source`, and how many rows were skipped if any were."""
        return printable(f"{source}, {len(self.messages):,} skipped" if self.messages else source)


def say(message):
    """Print to stderr, in a line, what a reader decided and its user should know."""
    print(f"fer_keras: {printable(message)}", file=sys.stderr)


def printable(text):
    """A text whose names of files can be printed, those in an unpacked archive as the archive's."""
    for folder, archive in tuple(UNPACKED.items()):  # threads may unpack meanwhile
        text = text.replace(folder, archive)
    return text.encode("utf-8", "backslashreplace").decode()


@dataclasses.dataclass(frozen=True, eq=False)
class FaceDataset:
    """Grey faces with their labels, splits and origin.

    `x, y = faces["train"]` gives the images and labels of one split.

    Args:
        images: uint8 array `(n, height, width, 1)`, values in [0, 255].
        labels: int array `(n,)`, indices into `classes`.
        split: str array `(n,)`, each `"train"`, `"validation"` or `"test"`.
        classes: tuple of class names.
        source: what was read, in words.
        protocol: whose splits these are: `"official"` (the 2013 challenge's), `"course"` (the four-class course set's),
            `"folders"` (a published folder set's), `"four-fifths"`, `"raf-db"`, `"joined"`, `"drawn"` or `"own"`.
        rows: int array `(n,)`, the row or file number in the source; 0 to n - 1 if not given.
        votes: float32 array `(n, 10)` of FER+ votes in the order of `labels.FERPLUS_VOTES`, or None.
        skipped: messages on what `on_error="skip"` left out.
        fer2013_rows: how many rows the fer2013.csv has that `rows` are those of; 0 if they number something else.
        difference: how what calls itself FER-2013 differs from what was published; nothing trained on it is final.
    """

    images: np.ndarray
    labels: np.ndarray
    split: np.ndarray
    classes: tuple
    source: str
    protocol: str = "own"
    rows: np.ndarray | None = None
    votes: np.ndarray | None = None
    skipped: tuple = ()
    fer2013_rows: int = 0
    difference: str = ""

    def __post_init__(self):
        object.__setattr__(self, "classes", check_classes(self.classes, least=1))
        object.__setattr__(self, "rows", np.arange(np.size(self.labels)) if self.rows is None else self.rows)
        for name in (name for name in ARRAYS if getattr(self, name) is not None):
            array = np.asarray(getattr(self, name))
            object.__setattr__(self, name, array)
            kind, sides, labels = array.dtype.kind, array.shape[1:], self.labels  # which come first
            fits = {"images": array.dtype == np.uint8 and array.shape[3:] == (1,), "labels": kind in "iu" and not sides}
            fits["votes"] = kind in "iuf" and sides == (len(FERPLUS_VOTES),)
            if not (array.ndim and fits.get(name, not sides) and len(array) == len(labels)):
                received = f"{array.dtype} of shape {array.shape}, and {labels.size} labels"
                raise ValueError(f"`{name}` must be {ARRAYS[name]}, a row a label. Received: {received}.")
        last = len(self.classes) - 1
        if len(labels) and not (labels.min() >= 0 and labels.max() <= last):
            expected = f"`labels` must lie in 0..{last}, one for each class of {self.classes}"
            raise ValueError(f"{expected}. Received: {labels.min()}..{labels.max()}.")
        check_known("split", np.unique(self.split).tolist(), SPLITS)
        check_known("protocol", [self.protocol], PROTOCOLS)

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, split):
        """Images and labels of one split: uint8 `(n, height, width, 1)` and int `(n,)`."""
        part = self.select(splits=(split,))
        return part.images, part.labels

    def __repr__(self):
        parts = ", ".join(f"{(self.split == split).sum():,} {split}" for split in SPLITS)
        height, width = self.images.shape[1:3]
        return f"<FaceDataset {self.source}: {parts}; {height}x{width}; {', '.join(self.classes)}>"

    @functools.cached_property
    def digests(self) -> np.ndarray:
        """uint64 array `(n,)`: a digest of each image's pixels (BLAKE2b), equal for exact copies."""
        pixels = np.ascontiguousarray(self.images)
        found = [hashlib.blake2b(image, digest_size=8).digest() for image in pixels]
        return np.frombuffer(b"".join(found), dtype="<u8")

    @functools.cached_property
    def fingerprint(self) -> str:
        """Hex digest of images, labels, splits and classes: equal data has an equal fingerprint."""
        total = hashlib.sha256(repr((self.classes, self.images.shape)).encode())
        total.update(self.digests.tobytes())
        total.update(np.asarray(self.labels, "<i8").tobytes())
        total.update("".join(split[:2] for split in self.split.tolist()).encode())
        return total.hexdigest()[:16]

    def counts(self) -> "pd.DataFrame":
        """Numbers of images as a `pandas.DataFrame`: a row a split, a column a class, and the total."""
        import pandas as pd  # not above: recognition reads pictures with this room, and starts in less time without

        classes = pd.Categorical.from_codes(self.labels, self.classes)
        table = pd.crosstab(pd.Categorical(self.split, SPLITS), classes, dropna=False)
        table.index.name, table.columns.name = "split", None
        total = "total of all classes" if "total" in self.classes else "total"
        return table.assign(**{total: table.sum(axis=1)})

    def take(self, index: np.ndarray, **changes: Any) -> "FaceDataset":
        """The rows that `index` (integers or a boolean mask) picks; a mask of all rows copies nothing."""
        index = np.asarray(index)
        index = index if index.size or index.dtype == bool else index.astype(np.int64)
        if index.dtype == bool:
            if len(index) != len(self):
                raise ValueError(f"A mask must have a value for each of the {len(self)} rows. Received: {len(index)}.")
            index = slice(None) if index.all() else np.flatnonzero(index)
        kept = {name: getattr(self, name)[index] for name in ARRAYS if getattr(self, name) is not None}
        return dataclasses.replace(self, **{**kept, **changes})

    def select(self, *, classes: Sequence[str] | None = None, splits: Sequence[str] | None = None) -> "FaceDataset":
        """The rows of some classes and splits; labels are renumbered to the classes given, in their order."""
        keep, changes = np.ones(len(self), bool), {}
        if splits is not None:
            check_known("split", splits, SPLITS)
            keep &= np.isin(self.split, tuple(splits))
        if classes is not None:
            classes = check_known("class", classes, self.classes)
            renumbered = np.full(len(self.classes), -1)
            renumbered[[self.classes.index(name) for name in classes]] = np.arange(len(classes))
            keep &= renumbered[self.labels] >= 0
            changes = {"labels": renumbered[self.labels[keep]], "classes": classes}
        return self.take(keep, **changes)

    def to_classes(self, classes: Sequence[str], *, drop: bool = False) -> "FaceDataset":
        """The same faces in another label set; an image without a counterpart is refused, or left out with `drop`."""
        classes = check_classes(classes, least=1)
        shared = tuple(name for name in classes if name in self.classes)
        counts = zip(self.classes, np.bincount(self.labels, minlength=len(self.classes)), strict=True)
        lost = [f"{name} ({count:,} images)" for name, count in counts if count and name not in shared]
        if not shared or (lost and not drop):
            expected = f"Each image needs a counterpart of its class among {', '.join(classes)}"
            received = f"{', '.join(lost or self.classes)}. Pass drop=True to leave out those without one"
            raise ValueError(f"{expected}. Received: {received}.")
        kept = self.select(classes=shared)
        place = np.array([classes.index(name) for name in shared])
        return dataclasses.replace(kept, labels=place[kept.labels], classes=classes)

    def against_rest(self, name: str) -> "FaceDataset":
        """The same faces in two classes: the rest (0) and one class (1)."""
        check_known("class", [name], self.classes)
        labels = (self.labels == self.classes.index(name)).astype(np.int64)
        return dataclasses.replace(self, labels=labels, classes=(REST, name))

    def keep_of_train(self, fraction: float, *, seed: int = 0) -> "FaceDataset":
        """Fewer training images: a share in (0, 1] of each class, one at least; what a smaller keeps a larger does."""
        if not 0 < fraction <= 1:
            raise ValueError(f"`fraction` must lie in (0, 1]. Received: {fraction}.")
        check_integer("seed", seed, 0)
        generator, keep = np.random.default_rng(seed), self.split != "train"
        for label in range(len(self.classes)):
            members = generator.permutation(np.flatnonzero((self.split == "train") & (self.labels == label)))
            keep[members[: max(1, round(fraction * len(members)))]] = True
        return self.take(keep, source=f"{self.source}, {fraction:g} of its training images")

    def resplit(
        self, seed: int, *, fractions: Sequence[float] = (0.8, 0.1, 0.1), within: Sequence[str] = SPLITS,
        groups: ArrayLike | None = None,
    ) -> "FaceDataset":  # fmt: skip
        """The same faces in a new split: stratified by class, exact copies always on the same side.

        Args:
            seed: which split.
            fractions: shares of train, validation and test, summing to 1.
            within: the splits drawn anew; with `("train",)` and fractions `(0.9, 0.1, 0)`, validation is split off it.
            groups: array `(n,)`, such as who is pictured: images of equal value stay on one side too. Each
                side that has a share gets one group at least; a `DataError` if there are too few.
        """
        check_integer("seed", seed, 0)
        if len(fractions) != 3 or not min(fractions) >= 0 or not abs(sum(fractions) - 1) <= 1e-9:  # nor NaN
            raise ValueError(f"`fractions` must be three shares that sum to 1. Received: {fractions}.")
        if groups is not None and len(groups) != len(self):
            raise ValueError(f"`groups` must have a value for each of the {len(self)} rows. Received: {len(groups)}.")
        check_known("split", within, SPLITS)
        drawn = np.flatnonzero(np.isin(self.split, within))
        labels, digests, generator = self.labels[drawn], self.digests[drawn], np.random.default_rng(seed)
        split = self.split.astype("<U10")
        _, first, copies = np.unique(digests, return_index=True, return_inverse=True)
        if groups is None:
            split[drawn] = split_by_class(labels[first], generator, fractions)[copies]
        else:
            split[drawn] = split_by_group(labels, np.asarray(groups)[drawn], copies, generator, fractions)
        return dataclasses.replace(self, split=split, protocol="own")


def four_fifths(faces, seed=0):
    """The faces in a split that many students draw: a random fifth of all rows for validation, duplicates or not."""
    split = np.full(len(faces), "train", "<U10")
    split[np.random.default_rng(seed).permutation(len(faces))[: len(faces) // 5]] = "validation"
    return dataclasses.replace(faces, split=split, protocol="four-fifths")


def concatenate(datasets: Sequence[FaceDataset]) -> FaceDataset:
    """Join data sets of one image size and the same classes, in the first's order; each image keeps its split.

    Training images that another of them has for validation or test are counted on stderr; `audit` counts all copies.
    """
    parts = list(datasets) if isinstance(datasets, Iterable) else []
    if not parts or not all(isinstance(faces, FaceDataset) for faces in parts):
        raise ValueError(f"`datasets` must be a list of FaceDatasets. Received: {datasets or 'none'}.")
    first = parts[0]
    for other in parts[1:]:
        if set(other.classes) != set(first.classes) or other.images.shape[1:] != first.images.shape[1:]:
            advice = "Select the classes that all have (faces.select), and pass image_size to the loader."
            expected = "Data sets to join must have the same classes and image size"
            raise ValueError(f"{expected}. Received: {first!r} and {other!r}. {advice}")
    ordered = [faces.select(classes=first.classes) for faces in parts]
    names = ["images", "labels", "split", *(["votes"] if all(faces.votes is not None for faces in ordered) else [])]
    arrays = {name: np.concatenate([getattr(faces, name) for faces in ordered]) for name in names}
    about = {"classes": first.classes, "source": " + ".join(faces.source for faces in ordered), "protocol": "joined"}
    skipped = tuple(message for faces in ordered for message in faces.skipped)
    about["difference"] = "; ".join(dict.fromkeys(faces.difference for faces in ordered if faces.difference))
    joined = FaceDataset(**arrays, **about, skipped=skipped)
    origin, train = np.repeat(np.arange(len(ordered)), [len(faces) for faces in ordered]), joined.split == "train"
    pairs = ((train & (origin == own), ~train & (origin != own)) for own in range(len(ordered)))
    if count := sum(np.isin(joined.digests[mine], joined.digests[others]).sum() for mine, others in pairs):
        say(f"{count:,} training images are also in another set's validation or test part: {joined.source}")
    return joined


def assemble(images, kept, problems, *, at, source, **about):
    """The `FaceDataset` of images `(n, height, width)` and of `kept`, label, split and row (or None) of the first."""
    if not kept:
        raise DataError(f"{at}: Expected faces. Received: none that can be read.")
    labels, splits, rows = zip(*kept, strict=True)
    arrays = {"labels": np.array(labels, np.int64), "split": np.array(splits, "<U10")}
    arrays["rows"] = None if None in rows else np.array(rows, np.int64)
    about |= {"source": problems.describe(source), "skipped": tuple(problems.messages)}
    return FaceDataset(images=images[: len(kept), ..., None], **arrays, **about)


def check_known(kind, asked, known):
    """What is asked; a `ValueError` names what is not among `known`, or classes that are not distinct names."""
    asked = check_classes(asked, least=1) if kind == "class" else asked
    if wrong := [name for name in asked if name not in known]:
        raise ValueError(f"Unknown {kind} {wrong[0]!r}. Expected one of: {', '.join(known)}. Received: {list(asked)}.")
    return asked


def check_integer(name, value, least):
    """Raise a `ValueError` unless the argument `name` is an integer of at least `least`."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise ValueError(f"`{name}` must be an integer of at least {least}. Received: {value!r}.")


def split_by_class(labels, generator, fractions):
    """A split that gives every class its shares, to the nearest picture."""
    side = np.empty(len(labels), "<U10")
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        bounds = np.round(np.cumsum(fractions)[:2] * len(members)).astype(int)
        for name, part in zip(SPLITS, np.split(members, bounds), strict=True):
            side[part] = name
    return side


def split_by_group(labels, groups, copies, generator, fractions):
    """A split of whole groups, made one by shared copies: the largest first, to where most is missed of the shares."""
    from scipy import sparse

    _, group = np.unique(groups, return_inverse=True)
    count = group.max(initial=-1) + 1
    graph = sparse.coo_array((np.ones(len(group)), (group, count + copies)), shape=2 * (count + len(group),))
    group = sparse.csgraph.connected_components(graph, directed=False)[1][group]
    counts = np.zeros((group.max(initial=-1) + 1, labels.max(initial=-1) + 1))
    np.add.at(counts, (group, labels), 1)
    shares = counts / counts.sum(axis=0).clip(1)
    sides, wanted = np.flatnonzero(fractions), np.compress(fractions, fractions).astype(float)
    missing = np.repeat(wanted[:, None], counts.shape[1], axis=1)
    if len(counts) < len(sides):
        expected = f"Expected {len(sides)} groups at least, one for each side of the split that has a share"
        received = f"{len(counts)}, as groups that share exact copies are one. Pass `fractions` with more zeros"
        raise DataError(f"{expected}. Received: {received}.")
    taken, order = np.zeros(len(counts), np.int64), generator.permutation(len(counts))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    for index in order:
        nearer = (missing**2 - (missing - shares[index]) ** 2).sum(axis=1) / wanted
        taken[index] = nearer.argmax()
        missing[taken[index]] -= shares[index]
    for side in set(range(len(sides))) - set(taken):  # of few groups, none may be near its share: it gets the smallest
        taken[order[np.bincount(taken)[taken[order]] > 1][-1]] = side
    return np.array(SPLITS, "<U10")[sides[taken]][group]
