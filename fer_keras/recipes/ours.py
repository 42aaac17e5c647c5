"""Our own networks (F)."""

from fer_keras.recipes.recipe import Recipe

SMALL = {
    "system": "F",
    "model": "fer-small",
    "data": "fer7",
    "batch_size": 128,
    "epochs": 100,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "schedule": "cosine",
    "warmup_epochs": 2.0,
    "weight_decay": 3e-3,
    "label_smoothing": 0.1,
    "ema_decay": 0.998,
    "monitor": "val_accuracy",
    "flip": True,
    "rotation_degrees": 12.0,
    "zoom": (0.88, 1.15),
    "shift_fraction": 0.104,
    "contrast": (0.7, 1.3),
    "erase_probability": 0.35,
    "flip_view": True,
    "final": True,
}
# A weight for each place of a face that a channel is pooled over.
WEIGHTED = {"model_options": (("pooling", "weighted"),)}

# From the body of the same network that knows seven classes, on the same split; a lower rate keeps what it learned.
FROM_SEVEN = {"epochs": 30, "learning_rate": 0.03, "warmup_epochs": 1.0}
# Learns what three of its own kind say together of each training image: a target that is soft already.
DISTILLED = {"epochs": 150, "label_smoothing": 0.0, "teacher_share": 0.8}
# Faces that come looser or tighter than FER-2013 cuts them, and from other cameras.
WIDER = {
    "zoom": (0.8, 1.25),
    "shift_fraction": 0.12,
    "brightness": (0.5, 1.2),
    "contrast": (0.5, 1.4),
    "gamma": (0.6, 1.5),
    "blur_pixels": 0.8,
}
# Learns what its teachers say, in each step, of the very pictures that it sees, mixed ones among them.
TAUGHT = WIDER | {"label_smoothing": 0.0, "mixup_alpha": 0.2, "teacher_share": 0.8, "teachers_see": "changes"}
# FER+'s votes for an image of Training are a distribution already: no smoothing.
FERPLUS = {"data": "ferplus8", "targets": "votes", "label_smoothing": 0.0}
# Four times the parameters: mixup against learning by heart.
BASE = SMALL | WIDER | {"model": "fer-base", "mixup_alpha": 0.2}
# Twenty times the parameters, for accelerators.
LARGE = SMALL | WIDER | {"model": "fer-large", "epochs": 150, "mixup_alpha": 0.2}

# What the study of transfer starts from, and what it trains: short schedules, judged on validation only.
SHORT = SMALL | {"final": False, "epochs": 8}
FOUR = {
    "system": "F",
    "model": "fer-small",
    "data": "fer4",
    "batch_size": 64,
    "epochs": 12,
    "reduce_factor": 0.2,
    "reduce_patience_epochs": 2,
    "stop_patience_epochs": 3,
    "flip": True,
}

SMALLS = Recipe(name="fer-small", title="fer-small", seeds=(0, 1, 2), **SMALL)
WEIGHTEDS = Recipe(name="fer-small@weighted", title="fer-small with weighted pooling", seeds=(0, 1), **SMALL | WEIGHTED)
BASES = Recipe(name="fer-base", title="fer-base", **BASE)


def all_seeds(recipe):
    """Return name, digest and seed of each run of a recipe."""
    return tuple((recipe.name, recipe.digest, seed) for seed in recipe.seeds)


def mean_of(*recipes, **words):
    """Return the recipe of the ensemble of all seeds of recipes for the same classes."""
    own = {"system": recipes[0].system, "model": "ensemble", "data": recipes[0].data, "rule": "mean", "final": True}
    return Recipe(members=tuple(member for recipe in recipes for member in all_seeds(recipe)), **own, **words)


RECIPES = (
    SMALLS,
    WEIGHTEDS,
    Recipe(name="fer-small@mixup", title="fer-small@weighted with mixup", **SMALL | WEIGHTED | {"mixup_alpha": 0.2}),
    mean_of(SMALLS, WEIGHTEDS, name="fer-small-ensemble", title="Five fer-small"),
    Recipe(
        name="fer-small-distilled",
        title="fer-small, taught by three",
        teachers=all_seeds(SMALLS),
        note="Learns what three fer-small with other seeds say of each training image and its mirror image.",
        **SMALL | DISTILLED,
    ),
    Recipe(
        name="fer-small-taught",
        title="fer-small, taught by fer-base and five fer-small",
        teachers=(*all_seeds(BASES), *all_seeds(SMALLS), *all_seeds(WEIGHTEDS)),
        note="Learns the mean prediction of six networks for the augmented pictures that it sees.",
        **SMALL | TAUGHT,
    ),
    Recipe(
        name="fer-small-4",
        title="fer-small, four classes",
        start_recipe="fer-small",
        **SMALL | FROM_SEVEN | {"data": "fer4"},
    ),
    Recipe(
        name="fer-small-4@weighted",
        title="fer-small with weighted pooling, four classes",
        start_recipe="fer-small@weighted",
        **SMALL | WEIGHTED | FROM_SEVEN | {"data": "fer4"},
    ),
    Recipe(
        name="fer-small-ferplus",
        title="fer-small on FER+",
        start_recipe="fer-small",
        note="Learns the distribution of FER+'s votes for the Training images; scored on FER+'s majority labels.",
        **SMALL | FROM_SEVEN | FERPLUS,
    ),
    BASES,
    Recipe(
        name="fer-base-ferplus",
        title="fer-base on FER+",
        start_recipe="fer-base",
        note="Learns the distribution of FER+'s votes for the Training images; scored on FER+'s majority labels.",
        **BASE | FROM_SEVEN | FERPLUS,
    ),
    mean_of(SMALLS, WEIGHTEDS, BASES, name="fer-ensemble", title="fer-base and five fer-small"),
    Recipe(name="fer-large", title="fer-large", note="Prepared for accelerators.", **LARGE),
    Recipe(name="fer-small@short", title="fer-small, eight epochs", **SHORT),
    Recipe(
        name="fer-small@three",
        title="fer-small on angry, disgust and fear",
        **SHORT | {"data": "fer3", "epochs": 15},
    ),
    Recipe(
        name="fer-small@votes",
        title="fer-small on the votes of FER+",
        **SHORT | {"data": "ferplus8", "targets": "votes"},
    ),
    Recipe(
        name="fer-small@folds",
        title="fer-small, to judge images that it has not seen",
        note="Trained once for each fold of the training images: python -m fer_keras label-errors.",
        **SMALL | {"final": False, "epochs": 40},
    ),
    Recipe(name="fer-small@four", title="fer-small, four classes, from random initialisation", **FOUR),
)
