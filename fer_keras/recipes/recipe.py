"""`Recipe`: how one network is trained, as plain data; `Space`: a grid of settings around a recipe."""

import dataclasses
import hashlib
import itertools
import json
import re
import types

import numpy as np

from fer_keras.data.augmentation import Augmentation
from fer_keras.data.dataset import PROTOCOLS, FaceDataset, say
from fer_keras.data.ferplus import soft_targets
from fer_keras.labels import FER3, FER4, FER6, FER7, FERPLUS8, REST
from fer_keras.names import closest

CLASSES = {"fer7": FER7, "fer4": FER4, "fer3": FER3, "ferplus8": FERPLUS8, "ferplus6": FER6}
CHOICES = {
    "data": (*CLASSES, "own"),
    "protocol": PROTOCOLS,
    "optimizer": ("adam", "adamw", "sgd", "own"),
    "schedule": ("constant", "cosine"),
    "monitor": ("val_loss", "val_accuracy", "val_precision", "val_recall"),
    "targets": ("labels", "votes"),
    "teachers_see": ("images", "changes"),
    "rule": ("", "mean", "stacking"),
}
# Where a field is a pair, both lie in the interval and the lower one stands first.
RANGES = {
    "(0, 1)": ("reduce_factor",), "(0, 1]": ("train_fraction", "crop_fraction"),
    "[0, 1)": ("momentum", "label_smoothing", "ema_decay"),
    "[0, 1]": ("teacher_share", "shift_fraction", "erase_probability"), "[0, 2]": ("blur_pixels",),
    "[0, 90)": ("shear_degrees",), "[0, 100]": ("published",), "[0, 180]": ("rotation_degrees",),
    "(0, inf)": ("learning_rate", "teacher_temperature", "zoom", "gamma"), "[1, inf)": ("batch_size", "epochs"),
    "[0, inf)": ("weight_decay", "warmup_epochs", "reduce_patience_epochs", "reduce_floor", "stop_patience_epochs",
                 "brightness", "contrast", "mixup_alpha"),
}  # fmt: skip
REFERENCES = {"name", "keras_history", "input_layers", "output_layers"}  # where Keras' configurations have names
# What a digest does not count, since it decides nothing about the trained network.
DESCRIPTIVE = {"title", "note", "system", "seeds", "final", "flip_view"}
DESCRIPTIVE |= {"published", "published_split", "published_source"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How one network is trained, on what, and what its authors published; a comment beside each field explains it.

    Raises:
        ValueError: on a value of another type, outside its choices or range, or that does not go with another.

    Example:

    >>> recipe = Recipe(name="mine", system="F", title="Mine", model="fer-small", data="fer7", epochs=5)
    >>> recipe.classes[0], recipe.augmentation.flip, recipe.digest
    ('angry', False, 'edbb57fdbc01')
    """

    name: str  # variants are called `<recipe>@<variant>`
    system: str  # project: A EmoVision, B Facial Expression Recognition, C capstone, D CS337, E SEP-CVDL, F ours
    title: str  # for tables
    model: str  # in `models.MODELS`, "ensemble", or "own" for a model that a user compiled
    # "fer7"; "fer4"; "fer3", the three that these four leave out; "ferplus8", "ferplus6", FER+'s majority labels; "own"
    data: str
    model_options: tuple = ()  # pairs of a name and a value, passed to the model's builder
    class_names: tuple = ()  # classes of data="own", in the order of their labels
    positive: str | None = None  # for one against the rest, the one class
    train_fraction: float = 1.0  # share of each class's training images, as `FaceDataset.keep_of_train` picks them
    protocol: str = "official"  # trained on Training, chosen on PublicTest; "course"; a variant's: `dataset.PROTOCOLS`
    batch_size: int = 32
    epochs: int = 50  # the most that it may train
    optimizer: str = "adam"  # "adamw", "sgd" (with Nesterov momentum), or "own" for that of a compiled model
    learning_rate: float = 1e-3  # the highest
    momentum: float = 0.9  # of SGD
    weight_decay: float = 0.0  # decoupled; biases and batch-normalisation weights are excluded
    schedule: str = "constant"  # or "cosine" after `warmup_epochs`
    warmup_epochs: float = 0.0  # linear
    reduce_factor: float = 0.2  # ReduceLROnPlateau on the validation loss
    reduce_patience_epochs: int = 0  # 0 is no reduction
    reduce_floor: float = 0.0
    stop_patience_epochs: int = 0  # EarlyStopping on `monitor`, 0 is none; the best epoch by `monitor` is always kept
    monitor: str = "val_loss"  # "val_accuracy"; or a mean over the classes, "val_precision" or "val_recall"
    label_smoothing: float = 0.0  # share of the target spread over all classes
    class_weights: bool = False  # weigh classes by the inverse of their frequency
    targets: str = "labels"  # or "votes" for the distribution of the FER+ votes
    teachers: tuple = ()  # name, digest and seed of each run whose mean probabilities are learned too (distillation)
    teacher_share: float = 0.5  # of the teachers' probabilities in the target of a training image
    teacher_temperature: float = 1.0  # softens them
    # "images", once, each training image and its mirror image; "changes", in each step, the augmented images of the
    # student (Beyer et al., 2022, arXiv:2106.05237: "consistent")
    teachers_see: str = "images"
    ema_decay: float = 0.0  # decay a step of the averaged weights that are validated and kept; 0 is none
    # From here to mixup_alpha, the fields of `data.augmentation.Augmentation`
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
    weights: str | None = None  # the initial ones: None for random initialisation, "imagenet", "hed", or a file
    start_recipe: str | None = None  # whose kept weights are the initial ones; only the backbone's, from other classes
    members: tuple = ()  # of an ensemble: name and digest of each run's recipe; its seed, unless the ensemble's
    rule: str = ""  # how the members are combined, "mean" or "stacking" (see `results.combine`)
    # The first layer of a nested backbone that is trained, "everything", or None for none of it (all of it where it has
    # neither `weights` nor a start)
    trainable_from: str | None = None
    frozen_body: bool = False  # train the head alone; the backbone keeps its initial weights
    flip_view: bool = False  # record flip test-time augmentation too, as `validation_flip` and `test_flip`
    seeds: tuple = (0,)  # that are recorded
    final: bool = False  # whether its test predictions are recorded, once, after everything was chosen
    published: float | None = None  # the authors' accuracy in percent, on `published_split`, from `published_source`
    published_split: str = ""
    published_source: str = ""
    note: str = ""  # what a reader should know

    def __post_init__(self):
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, plain(getattr(self, field.name)))
        if fault := next(itertools.chain(field_faults(self), joint_faults(self)), None):
            fields, expected = fault
            received = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields)
            value, possible = getattr(self, fields[0]), CHOICES.get(fields[0], ())
            near = closest(value, possible) if isinstance(value, str) and value not in possible else None
            action = f"Did you mean {near!r}?" if near else f"Change {' or '.join(fields)}."
            raise ValueError(f"Recipe {self.name}: {expected}. Received: {received}. {action}")

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names in the order of the labels; for one against the rest, the rest and the one class."""
        return (REST, self.positive) if self.positive else self.label_classes

    @property
    def label_classes(self) -> tuple[str, ...]:
        """Class names of the data, in the order of the labels."""
        return self.class_names if self.data == "own" else CLASSES[self.data]

    @property
    def augmentation(self) -> Augmentation:
        """The recipe's `data.augmentation.Augmentation`."""
        return Augmentation(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Augmentation)})

    @property
    def digest(self) -> str:
        """Hex digest (12 characters) of all that decides the trained network: not of titles, notes and the like.

        A field at its default does not count, so that a field added later leaves the records of earlier runs valid; a
        default is therefore never changed.
        """
        counted = [field for field in dataclasses.fields(self) if field.name not in DESCRIPTIVE]
        values = {each.name: getattr(self, each.name) for each in counted if getattr(self, each.name) != each.default}
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:12]


@dataclasses.dataclass(frozen=True)
class Space:
    """A grid around a recipe."""

    name: str
    recipe: str  # name of the one whose fields are varied
    grid: dict  # lists of a field's values, as scikit-learn's `ParameterGrid` takes them; "seed"; "variant", a name
    source: str  # who published the grid, or why it is as it is
    variants: dict = dataclasses.field(default_factory=dict)  # from a name to the fields that it changes together

    def __post_init__(self):
        for name, values in self.grid.items() or [("grid", ())]:
            if not isinstance(values, list | tuple | np.ndarray) or not len(values):
                received = f"{name}: {values!r:.99}" if self.grid else "an empty grid"
                raise ValueError(f"Space {self.name}: Expected a list of values for each field. Received: {received}.")

    def cell(self, recipe: Recipe, chosen: dict) -> Recipe:
        """The recipe of one cell of the grid, named after its settings."""
        named = {name: value for name, value in chosen.items() if name != "seed"}
        words = ",".join(f"{name}={value}" for name, value in sorted(named.items()))
        changes = {**self.variants.get(named.pop("variant", None), {}), **named}
        if unknown := set(changes) - set(vars(recipe)):
            raise ValueError(f"A grid varies fields of a recipe. Received: {', '.join(sorted(unknown))}.")
        return dataclasses.replace(recipe, name=f"{recipe.name}@{words.replace(' ', '-')}", final=False, **changes)


def make(settings, name, title, **changes):
    """Make a recipe from settings and changes to them; unless they set a model, it is the name without the variant."""
    return Recipe(name=name, title=title, **{"model": name.partition("@")[0]} | settings | changes)


def describe(model, **how) -> Recipe:
    """The recipe of a compiled Keras model: its name, digests of architecture, compilation, functions, weights."""
    numbers, compilation = {}, model._compile_config.config
    config = [without_names(each, numbers) for each in (model.get_config(), model.get_compile_config())]
    config += [of_functions(part) for part in [*model._flatten_layers(), *compilation.values()]]
    plain = {"default": lambda each: np.asarray(each).tolist() if hasattr(each, "__array__") else type(each).__name__}
    config = json.dumps(config, sort_keys=True, **plain)
    values = b"".join(np.ascontiguousarray(array).tobytes() for array in model.get_weights())
    made_of = {"config": config.encode(), "weights": values}
    options = tuple((name, hashlib.sha256(content).hexdigest()[:12]) for name, content in made_of.items())
    name = re.sub(r"^(sequential|functional)_\d+$", r"\1", model.name)
    how |= {"system": "own", "model": "own", "data": "own", "optimizer": "own", "model_options": options}
    return Recipe(name=name, title=name, **how)


def without_names(item, numbers, *, is_name=False):
    """A configuration with numbers for the names of layers, models and metrics, which Keras counts up."""
    if isinstance(item, dict) and "Policy" not in str(item.get("class_name")):
        here = {key: is_name or key in REFERENCES for key in item}
        return {numbers.get(key, key): without_names(item[key], numbers, is_name=here[key]) for key in item}
    if isinstance(item, list | tuple):
        return [without_names(each, numbers, is_name=is_name) for each in item]
    if isinstance(item, str) and is_name:
        return numbers.setdefault(item, f"#{len(numbers)}")
    return None if isinstance(item, str) and item.endswith("\n") else item  # a lambda's code: see `of_functions`


def of_functions(value):
    """The code of a function that is no part of Keras, and what it closes over; an object's functions and numbers."""
    if isinstance(value, types.FunctionType):
        if str(value.__module__).startswith("keras."):
            return value.__qualname__
        cells = [cell.cell_contents for cell in value.__closure__ or () if cell.cell_contents is not value]
        value = [value.__code__, value.__defaults__, value.__kwdefaults__, cells]
    elif isinstance(value, types.CodeType):
        value = [value.co_code.hex(), value.co_names, value.co_consts]
    elif hasattr(value, "__dict__") and not (hasattr(value, "__array__") or isinstance(value, type | types.ModuleType)):
        public = [each for name, each in vars(value).items() if name != "seed" and not name.startswith("_")]
        own = [each for each in vars(value).values() if isinstance(each, types.FunctionType)]
        value = [type(value).__name__, *own, *(each for each in public if type(each) in (int, float))]
    value = [*value.values()] if isinstance(value, dict) else value
    return [of_functions(each) for each in value] if isinstance(value, list | tuple) else value


def for_split(recipe: Recipe, protocol: str, *, classes: tuple[str, ...] | None = None) -> Recipe:
    """The recipe for faces of a split or data set: itself, or its variant `<recipe>@<protocol>`, which is never final.

    Synthetic faces stand in for any. The official split and the course's never do for each other: they share images.

    Args:
        protocol: the faces' `protocol`, one of `data.dataset.PROTOCOLS`; `"raf-db"` for RAF-DB, `"own"` for CK+48.
        classes: the faces' classes, which may be more than the recipe's; None does not check them.

    Raises:
        ValueError: for the official split or the course's with a recipe of another, or for faces that lack a class.
    """
    needed = (recipe.positive,) if recipe.positive else recipe.classes
    missing = [name for name in needed if classes is not None and name not in classes]
    if missing:
        words = f"Recipe {recipe.name} needs faces of the classes {', '.join(needed)}. Received: {', '.join(classes)}"
        raise ValueError(f"{words}, without {', '.join(missing)}. Choose a recipe of these classes, or other data.")
    if protocol in (recipe.protocol, "drawn"):
        return recipe
    if protocol in ("official", "course"):
        words = f"Recipe {recipe.name} is for the {recipe.protocol} split. Received: faces of the {protocol} split"
        raise ValueError(f"{words}. Choose a recipe of the {protocol} split, or data of the {recipe.protocol} split.")
    return dataclasses.replace(recipe, name=f"{recipe.name}@{protocol}", protocol=protocol, final=False)


def own_recipe(recipe: Recipe, faces: FaceDataset) -> Recipe:
    """The recipe's variant `<recipe>@own` for one's own pictures, with their classes."""
    own = {"name": f"{recipe.name}@own", "data": "own", "protocol": "own", "final": False}
    return dataclasses.replace(recipe, **own, class_names=faces.classes)


def variant_for(recipe: Recipe, faces: FaceDataset) -> Recipe:
    """The recipe, or its variant for faces of another split or with classes of one's own; a variant is announced."""
    own = faces.protocol == "own" and not set(recipe.classes) <= {*faces.classes, *recipe.classes[:1]}
    variant = own_recipe(recipe, faces) if own else for_split(recipe, faces.protocol)
    if variant != recipe:
        say(f"{recipe.name} is for the {recipe.protocol} split; this is {variant.name}, on {faces.source}")
    return variant


def select_classes(recipe: Recipe, faces: FaceDataset) -> FaceDataset:
    """Select the classes of the recipe's data set, if the faces have them all and labels of the recipe's kind."""
    # On the official split, contempt tells the labels of FER+ from those of FER-2013.
    other_labels = faces.protocol == "official" and ("contempt" in faces.classes) != recipe.data.startswith("ferplus")
    if other_labels or not set(recipe.label_classes) <= set(faces.classes):
        return faces
    selected = faces.select(classes=recipe.label_classes)
    if lost := len(faces) - len(selected):
        others = ", ".join(name for name in faces.classes if name not in recipe.label_classes)
        say(f"{faces.source}: {lost:,} images of other classes than those of {recipe.name} are left out ({others})")
    return selected


def to_recipe_classes(recipe: Recipe, faces: FaceDataset) -> FaceDataset:
    """Bring faces into a recipe's classes, in its order, with as many training images as it takes.

    How many images of other classes are left out stands on stderr. A `ValueError` if the faces lack a class, are of
    another split, or have no training or no validation images.
    """
    if faces.classes != recipe.classes:
        faces = select_classes(recipe, faces)
        faces = faces.against_rest(recipe.positive) if recipe.positive else faces
    empty = [split for split in ("train", "validation") if not (faces.split == split).any()]
    if faces.classes != recipe.classes:
        wrong = f"the classes {recipe.classes}", faces.classes
        action = "Take a recipe of these classes, or its variant for your own pictures (--folder PATH)."
    elif for_split(recipe, faces.protocol) != recipe:
        wrong = f"faces of the {recipe.protocol} split", f"those of the {faces.protocol} split"
        action = f"Train its variant: recipes.for_split(recipe, {faces.protocol!r}), or --data PATH."
    elif empty:
        wrong = "train and validation images", f"no {empty[0]} images"
        action = "Add them, or draw a part: faces.resplit(0, fractions=(0.9, 0.1, 0), within=('train',))."
    else:
        return faces.keep_of_train(recipe.train_fraction) if recipe.train_fraction < 1 else faces
    raise ValueError(f"Recipe {recipe.name} expects {wrong[0]}. Received: {wrong[1]} from {faces.source}. {action}")


def make_targets(recipe: Recipe, faces: FaceDataset, teacher_probabilities: np.ndarray | None = None) -> np.ndarray:
    """The target distribution of every image, float32 `(n, classes)`; a `ValueError` if the votes it needs are missing.

    The votes, and the mean probabilities of the recipe's teachers `(n, classes)`, count for training images only.
    """
    train = (faces.split == "train")[:, None]
    targets = np.eye(len(faces.classes), dtype=np.float32)[faces.labels]
    if recipe.targets == "votes":
        if faces.votes is None:
            words = f"Recipe {recipe.name} learns from FER+ votes. Received: {faces.source}, which has none"
            advice = "Take a recipe that learns from labels, or put fer2013new.csv beside FER-2013."
            raise ValueError(f"{words}. {advice}")
        votes = soft_targets(faces.votes, faces.classes)
        targets = np.where(train & (votes.sum(axis=1, keepdims=True) > 0), votes, targets)
    if teacher_probabilities is not None:
        mixed = (1 - recipe.teacher_share) * targets + recipe.teacher_share * teacher_probabilities
        targets = np.where(train, mixed, targets).astype(np.float32)
    return targets


def field_faults(recipe):
    """Fields of another type, of none of their possible values, or outside their range, with what was expected."""
    for field in dataclasses.fields(recipe):
        name, value, kind = field.name, getattr(recipe, field.name), field.type
        interval = next((interval for interval, names in RANGES.items() if name in names), None)
        numbers = value if kind is tuple else [value] * (value is not None)
        if not has_type(value, kind):
            yield [name], f"`{name}` must be of type {getattr(kind, '__name__', kind)}"
        elif value not in CHOICES.get(name, [value]):
            yield [name], f"`{name}` must be one of {', '.join(map(repr, CHOICES[name]))}"
        elif interval and not all(is_within(number, interval) for number in numbers):
            yield [name], f"`{name}` must {'be two numbers in' if kind is tuple else 'lie in'} {interval}"
        elif interval and kind is tuple and (len(value) != 2 or value[0] > value[1]):
            yield [name], f"`{name}` must be two numbers, the lower one first"


def joint_faults(recipe):
    """Tuples that hold something else, and fields that do not go with each other, with what was expected."""
    for name, sizes in {"model_options": (2,), "teachers": (3,), "members": (2, 3)}.items():
        entries = [list(each) if isinstance(each, tuple | list) else [] for each in getattr(recipe, name)]
        if not all(len(entry) in sizes and isinstance(entry[0], str) for entry in entries):
            yield [name], f"each of `{name}` must have {sizes[-1]} values, a name first"
    names, seeds = recipe.class_names, recipe.seeds
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names) or len(names) == 1:
        yield ["class_names"], "`class_names` must be two or more different names"
    if not all(has_type(seed, int) and seed >= 0 for seed in seeds) or not 0 < len(set(seeds)) == len(seeds):
        yield ["seeds"], "`seeds` must be different integers from 0 on"
    printable = recipe.name.isprintable() and not set(recipe.name) & set("/\\")
    if not printable or not 0 < len(recipe.name.encode()) <= 180:
        yield ["name"], "`name` is part of file names: printable, no slash, not empty, and at most 180 bytes"
    if recipe.optimizer == "own" and recipe.model != "own":
        yield ["optimizer"], "`optimizer` must be one of 'adam', 'adamw', 'sgd'"
    if recipe.schedule == "cosine" and recipe.reduce_patience_epochs:
        yield ["schedule", "reduce_patience_epochs"], "ReduceLROnPlateau needs a constant rate"
    if recipe.schedule == "cosine" and recipe.warmup_epochs >= recipe.epochs:
        yield ["warmup_epochs", "epochs"], "`warmup_epochs` must be less than `epochs`"
    if (recipe.data == "own") != bool(names):
        yield ["data", "class_names"], "`data='own'` needs `class_names`, and other data has its own"
    if recipe.positive is not None and recipe.positive not in recipe.label_classes:
        yield ["positive"], f"`positive` must be one of {', '.join(recipe.label_classes)}"
    if len({bool(recipe.members), bool(recipe.rule), recipe.model == "ensemble"}) > 1:
        yield ["model", "members", "rule"], "an ensemble has `model='ensemble'`, `members` and a `rule`"


def plain(value):
    """A number of NumPy as Python's, which JSON takes, in tuples too; any other value as it is."""
    value = tuple(map(plain, value)) if isinstance(value, tuple) else value
    return value.item() if isinstance(value, np.generic) else value


def has_type(value, kind):
    """Whether a value has a type: True is no number, but an int may stand for a float."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (isinstance(value, int) and isinstance(0.0, kind))


def is_within(value, interval):
    """Whether a value is a number in an interval, such as "(0, 1]"."""
    low, high = map(float, interval[1:-1].split(","))
    ends = {"[": low, "]": high}
    return has_type(value, float) and (low < value < high or value in (ends.get(interval[0]), ends.get(interval[-1])))
