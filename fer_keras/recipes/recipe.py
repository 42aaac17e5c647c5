"""`Recipe`: how one network is trained, as plain data."""

import dataclasses
import hashlib
import json

from fer_keras.data.transforms import Augmentation
from fer_keras.labels import FER3, FER4, FER6, FER7, FERPLUS8, REST

CLASSES = {"fer7": FER7, "fer4": FER4, "fer3": FER3, "ferplus8": FERPLUS8, "ferplus6": FER6}

MONITORS = ("val_loss", "val_accuracy", "val_precision", "val_recall")


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one network is trained, on what, and what its authors printed.

    Args:
        name: the recipe's name; variants are called `<system>@<variant>`.
        system: letter of the project it comes from (A EmoVision, B Facial Expression Recognition, C capstone, D CS337,
            E SEP-CVDL, F ours).
        title: a name for tables.
        model: name in `models.MODELS`; `model_options` are passed to its builder as pairs.
        data: `"fer7"`; `"fer4"`; `"fer3"`, the three that these four leave out; `"ferplus8"` or `"ferplus6"` for the
            labels of FER+ by majority; or `"own"` for one's own pictures, whose classes are `class_names`.
        positive: the one class that is told from the rest of them, or None.
        train_fraction: share in (0, 1] of each class's training images, as `FaceDataset.keep_of_train` picks them.
        protocol: `"official"` (train on Training, choose on PublicTest) or `"course"` (the four-class course set);
            variants may have another of `data.faces.PROTOCOLS`.
        batch_size, epochs: ints; `epochs` is the most it may train.
        optimizer: `"adam"`, `"adamw"` or `"sgd"` (with Nesterov momentum); `learning_rate` is its highest.
        weight_decay: decoupled; biases and batch-normalisation weights are left out.
        schedule: `"constant"`, or `"cosine"` after `warmup_epochs` of linear warm-up.
        reduce_factor, reduce_patience_epochs, reduce_floor: ReduceLROnPlateau on the validation loss; patience 0
            is none.
        stop_patience_epochs: EarlyStopping on `monitor`; 0 is none. The best epoch by `monitor` is always the one kept.
        monitor: one of `MONITORS`; precision and recall are means over the classes.
        label_smoothing: share of the target spread over all classes.
        class_weights: weigh classes by the inverse of their frequency.
        targets: `"labels"`, or `"votes"` for the distribution of the FER+ votes.
        teachers: name, digest and seed of each run whose probabilities are learned too (distillation); their mean has
            `teacher_share` of the target of a training image, after softening by `teacher_temperature`.
        teachers_see: `"images"`, once, each training image and its mirror image; or `"changes"`, in each step, the
            augmented pictures that the network itself sees (Beyer et al., 2022, arXiv:2106.05237: "consistent").
        ema_decay: decay a step of the averaged weights that are validated and kept; 0 is none.
        flip ... mixup_alpha: the augmentation, as in `data.transforms.Augmentation`.
        weights: where the network starts: None (random values), `"imagenet"`.
        start_recipe: recipe whose best epoch's values the network starts from, or None; of one with other classes only
            the body is taken, all but its head.
        members: for an ensemble, name and digest of each recipe whose run it combines by `rule`, `"mean"` or
            `"stacking"` (see `training.ensembles`), and the run's seed unless it is the ensemble's own; `model` is then
            `"ensemble"`.
        frozen_body: train the head alone; every other layer keeps the values that it starts from.
        trainable_from: for a nested backbone, the first layer that is trained, or None for none of it.
        flip_view: record the mean over each image and its mirror image too, as `validation_flip` and `test_flip`.
        seeds: the seeds that are recorded.
        final: whether its test predictions are recorded, once, after everything was chosen.
        published: the authors' figure in percent, on `published_split`, from `published_source`.
        note: what a reader should know.
    """

    name: str
    system: str
    title: str
    model: str
    data: str
    model_options: tuple = ()
    class_names: tuple = ()
    positive: str | None = None
    train_fraction: float = 1.0
    protocol: str = "official"
    batch_size: int = 32
    epochs: int = 50
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "constant"
    warmup_epochs: float = 0.0
    reduce_factor: float = 0.2
    reduce_patience_epochs: int = 0
    reduce_floor: float = 0.0
    stop_patience_epochs: int = 0
    monitor: str = "val_loss"
    label_smoothing: float = 0.0
    class_weights: bool = False
    targets: str = "labels"
    teachers: tuple = ()
    teacher_share: float = 0.5
    teacher_temperature: float = 1.0
    teachers_see: str = "images"
    ema_decay: float = 0.0
    flip: bool = False
    rotation_degrees: float = 0.0
    shift_fraction: float = 0.0
    zoom: tuple = (1.0, 1.0)
    zoom_apart: bool = False
    shear_degrees: float = 0.0
    crop_fraction: float = 1.0
    brightness: tuple = (1.0, 1.0)
    contrast: tuple = (1.0, 1.0)
    gamma: tuple = (1.0, 1.0)
    blur_pixels: float = 0.0
    erase_probability: float = 0.0
    mixup_alpha: float = 0.0
    weights: str | None = None
    start_recipe: str | None = None
    members: tuple = ()
    rule: str = ""
    trainable_from: str | None = None
    frozen_body: bool = False
    flip_view: bool = False
    seeds: tuple = (0,)
    final: bool = False
    published: float | None = None
    published_split: str = ""
    published_source: str = ""
    note: str = ""

    def __post_init__(self):
        if self.monitor not in MONITORS:
            raise ValueError(
                f"Recipe {self.name}: `monitor` must be one of {', '.join(MONITORS)}. Received: {self.monitor!r}."
            )

    @property
    def classes(self):
        """The tuple of class names, in FER-2013's order; the rest and the positive one if there is one."""
        if self.positive:
            return (REST, self.positive)
        return self.class_names if self.data == "own" else CLASSES[self.data]

    @property
    def augmentation(self):
        """The `data.transforms.Augmentation` of this recipe."""
        names = [field.name for field in dataclasses.fields(Augmentation)]
        return Augmentation(**{name: getattr(self, name) for name in names})

    @property
    def digest(self):
        """Hex digest (12 characters) of all that decides the trained network.

        Titles, notes and what others published do not. A field at its default does not count either, so that a field
        added later leaves the records of earlier runs valid; a default is therefore never changed.
        """
        words = {
            "title",
            "note",
            "system",
            "seeds",
            "final",
            "published",
            "published_split",
            "published_source",
            "flip_view",
        }
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in words and getattr(self, field.name) != field.default
        }
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


def for_split(recipe, protocol):
    """Return the recipe for faces of a split: itself, or a variant `<recipe>@<protocol>`, which is never final.

    Drawn faces stand in for any. The official split and the course's never stand in for each other: they share images.

    Raises:
        ValueError: for the official split with a recipe of another, or the course's.
    """
    if protocol in (recipe.protocol, "drawn"):
        return recipe
    if protocol in ("official", "course"):
        raise ValueError(
            f"Recipe {recipe.name} is for the {recipe.protocol} split. Received: faces of the {protocol} split."
        )
    return dataclasses.replace(recipe, name=f"{recipe.name}@{protocol}", protocol=protocol, final=False)
