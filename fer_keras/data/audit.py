"""`audit`: what is in a data set, and can it be trusted?"""

import dataclasses
import itertools

import numpy as np

from fer_keras.data.dataset import FaceDataset
from fer_keras.data.ferplus import names_emotion, not_a_face, plurality
from fer_keras.labels import FER7, PUBLISHED_COUNTS, SPLITS, count_difference


@dataclasses.dataclass(frozen=True)
class Audit:
    """What `audit` finds, as numbers of images; by split, and some over `"all"`."""

    source: str
    protocol: str
    fingerprint: str
    classes: tuple
    counts: dict  # by split and class
    skipped: int  # rows that could not be read
    distinct: dict  # that are left if of exact copies one is kept
    copies: dict  # [split][other]: of `split` that lie in `other` too, or in the same split repeat an earlier one
    conflicting_groups: int  # groups of copies that carry more than one label
    conflicting: dict  # in such groups
    constant: dict  # of one single value
    non_faces: dict | None  # that more than half of the FER+ votes call no face; None without votes
    # [split][class or "all"]: the share of labels that are the FER+ plurality (the first of equals), among images that
    # at least half of the votes give an emotion; None without such images, or without votes.
    agreement: dict | None

    def as_dict(self):
        """Everything as plain values for JSON."""
        return {**dataclasses.asdict(self), "classes": list(self.classes)}

    def table(self):
        """The counts as a `pandas.DataFrame`: a row a finding, a column a split, and all."""
        import pandas as pd

        rows = {"images": {split: sum(self.counts[split].values()) for split in SPLITS}}
        rows |= {f"  {name}": {split: self.counts[split][name] for split in SPLITS} for name in self.classes}
        rows["distinct images"] = self.distinct
        rows["copies of an earlier image of the split"] = {split: self.copies[split][split] for split in SPLITS}
        for other in SPLITS:
            rows[f"also in {other}"] = {split: self.copies[split][other] for split in SPLITS if split != other}
        rows["copies with conflicting labels"] = self.conflicting
        rows["of one constant value"] = self.constant
        if self.non_faces is not None:
            rows["not a face (FER+)"] = self.non_faces
        table = pd.DataFrame(rows, index=[*SPLITS, "all"]).T.astype("Int64")
        table["all"] = table["all"].fillna(table[list(SPLITS)].sum(axis=1, min_count=len(SPLITS)))
        return table.rename_axis("finding")

    def __str__(self):
        import pandas as pd

        table = self.table().astype(object)
        lines = [
            f"{self.source} ({self.protocol} split, fingerprint {self.fingerprint}, {self.skipped:,} skipped)",
            table.where(table.notna(), "").to_string(),
            f"{self.conflicting_groups:,} groups of copies disagree on the label",
        ]
        is_known = self.protocol in PUBLISHED_COUNTS and set(self.classes) <= set(FER7)
        if is_known and (difference := count_difference(self.protocol, self.counts)):
            lines.append(f"This is not the complete FER-2013. {difference}")
        if self.agreement is not None:
            lines.append("share of labels that are the FER+ plurality, if at least half of the votes name an emotion")
            shares = pd.DataFrame(self.agreement).rename_axis("class")
            lines.append(shares.to_string(na_rep="", float_format="{:.3f}".format))
        return "\n".join(lines)


def audit(faces: FaceDataset) -> Audit:
    """An `Audit` of a `FaceDataset`: counts, exact copies, conflicting labels, constant images, FER+'s verdict."""
    _, group = np.unique(faces.digests, return_inverse=True)
    carried = np.zeros((group.max(initial=-1) + 1, len(faces.classes)), bool)  # labels, by group of copies
    carried[group, faces.labels] = True
    is_conflicting = carried.sum(axis=1) > 1
    members = {split: faces.split == split for split in SPLITS}
    distinct = {split: np.unique(group[member]) for split, member in members.items()}
    copies = {split: {} for split in SPLITS}
    for split, other in itertools.product(SPLITS, SPLITS):
        found = int(np.isin(group[members[split]], distinct[other]).sum())
        copies[split][other] = found - len(distinct[split]) if split == other else found

    def by_split(mask):
        return {split: int(mask[member].sum()) for split, member in members.items()}

    has_votes = faces.votes is not None
    return Audit(
        source=faces.source,
        protocol=faces.protocol,
        fingerprint=faces.fingerprint,
        classes=faces.classes,
        counts=faces.counts()[list(faces.classes)].T.to_dict(),
        skipped=len(faces.skipped),
        distinct={split: len(found) for split, found in distinct.items()} | {"all": len(carried)},
        copies=copies,
        conflicting_groups=int(is_conflicting.sum()),
        conflicting=by_split(is_conflicting[group]),
        constant=by_split(faces.images.max(axis=(1, 2, 3)) == faces.images.min(axis=(1, 2, 3))),
        non_faces=by_split(not_a_face(faces.votes)) if has_votes else None,
        agreement={split: agreement(faces.select(splits=(split,))) for split in SPLITS} if has_votes else None,
    )


def agreement(faces):
    """The share of labels that are the FER+ plurality, over `"all"` and by class, as in `Audit`."""
    judged = names_emotion(faces.votes)
    labels = faces.labels[judged]
    agrees = np.array(faces.classes)[labels] == plurality(faces.votes[judged])
    masks = {name: agrees[labels == label] for label, name in enumerate(faces.classes)} | {"all": agrees}
    return {name: round(float(mask.mean()), 6) if len(mask) else None for name, mask in masks.items()}


def mean_faces(faces, split="train"):
    """The average face of each class in one split, float `(classes, height, width)`, values in [0, 255]."""
    images, labels = faces[split]
    missing = [name for label, name in enumerate(faces.classes) if not (labels == label).any()]
    if missing:
        raise ValueError(f"A mean face needs an image of each class in {split!r}. Received: none of {missing[0]!r}.")
    return np.stack([images[labels == label, ..., 0].mean(axis=0) for label in range(len(faces.classes))])
