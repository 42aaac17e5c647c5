"""Our own networks (F), and the grids around them."""

from fer_keras.recipes.recipe import Space, make

SMALL = {"system": "F", "model": "fer-small", "data": "fer7", "final": True, "flip_view": True}
SMALL |= {"batch_size": 128, "epochs": 100, "optimizer": "sgd", "learning_rate": 0.1, "weight_decay": 3e-3}
SMALL |= {"schedule": "cosine", "warmup_epochs": 2.0, "label_smoothing": 0.1, "ema_decay": 0.998}
SMALL |= {"monitor": "val_accuracy", "flip": True, "rotation_degrees": 12.0, "zoom": (0.88, 1.15)}
SMALL |= {"shift_fraction": 0.104, "contrast": (0.7, 1.3), "erase_probability": 0.35}
# A weight for each position of the feature map in a channel's mean.
WEIGHTED = SMALL | {"model_options": (("pooling", "weighted"),)}
# From the backbone of the same network of seven classes, on the same split; a lower rate keeps what it learned.
FROM_SEVEN = {"epochs": 30, "learning_rate": 0.03, "warmup_epochs": 1.0}
WEIGHTED_4 = WEIGHTED | FROM_SEVEN | {"start_recipe": "fer-small@weighted", "data": "fer4"}
# Faces cropped looser or tighter than FER-2013's, and from other cameras.
WIDER = {"zoom": (0.8, 1.25), "shift_fraction": 0.12, "blur_pixels": 0.8}
WIDER |= {"brightness": (0.5, 1.2), "contrast": (0.5, 1.4), "gamma": (0.6, 1.5)}
# FER+'s votes for an image of Training are a distribution already: no smoothing.
FERPLUS_NOTE = "Learns the distribution of FER+'s votes for the Training images; scored on FER+'s majority labels."
FERPLUS = {"data": "ferplus8", "targets": "votes", "label_smoothing": 0.0, "note": FERPLUS_NOTE}
# Four times the parameters, and twenty times in fer-large, for accelerators: mixup against overfitting.
BASE = SMALL | WIDER | {"model": "fer-base", "mixup_alpha": 0.2}
# What the study of transfer starts from, and what it trains: short schedules, judged on validation only.
SHORT = SMALL | {"final": False, "epochs": 8}
FOUR = {"system": "F", "model": "fer-small", "data": "fer4", "batch_size": 64, "epochs": 12, "flip": True}
FOUR |= {"reduce_factor": 0.2, "reduce_patience_epochs": 2, "stop_patience_epochs": 3}
FOLDS = SMALL | {"final": False, "epochs": 40}
FOLDS |= {"note": "Trained once for each fold of the training images: python -m fer_keras label-errors."}


def all_seeds(*recipes):
    """Name, digest and seed of each run of recipes."""
    return tuple((recipe.name, recipe.digest, seed) for recipe in recipes for seed in recipe.seeds)


SMALLS = make(SMALL, "fer-small", "fer-small", seeds=(0, 1, 2))
WEIGHTEDS = make(WEIGHTED, "fer-small@weighted", "fer-small with weighted pooling", seeds=(0, 1))
BASES = make(BASE, "fer-base", "fer-base")
MEAN = {"system": "F", "data": "fer7", "final": True, "model": "ensemble", "rule": "mean"}
# Learns the mean probabilities of three of its own kind for each training image: soft targets need no smoothing.
DISTILLED = SMALL | {"epochs": 150, "label_smoothing": 0.0, "teacher_share": 0.8, "teachers": all_seeds(SMALLS)}
DISTILLED |= {"note": "Learns what three fer-small with other seeds say of each training image and its mirror image."}
# Learns its teachers' predictions, in each step, for the very images that it sees, mixed ones among them. Both ship.
BOTH = tuple((recipe.name, recipe.digest, 0) for recipe in (BASES, SMALLS))
TAUGHT = SMALL | WIDER | {"teachers": BOTH, "teachers_see": "changes"}
TAUGHT |= {"label_smoothing": 0.0, "mixup_alpha": 0.2, "teacher_share": 0.8}
TAUGHT |= {"note": "Learns the mean prediction of two networks for the augmented pictures that it sees."}

RECIPES = (
    SMALLS,
    WEIGHTEDS,
    make(WEIGHTED, "fer-small@mixup", "fer-small@weighted with mixup", mixup_alpha=0.2),
    make(MEAN, "fer-small-ensemble", "Five fer-small", members=all_seeds(SMALLS, WEIGHTEDS)),
    make(DISTILLED, "fer-small-distilled", "fer-small, taught by three"),
    make(TAUGHT, "fer-small-taught", "fer-small, taught by fer-base and fer-small"),
    make(SMALL | FROM_SEVEN, "fer-small-4", "fer-small, four classes", start_recipe="fer-small", data="fer4"),
    make(WEIGHTED_4, "fer-small-4@weighted", "fer-small with weighted pooling, four classes"),
    make(SMALL | FROM_SEVEN | FERPLUS, "fer-small-ferplus", "fer-small on FER+", start_recipe="fer-small"),
    BASES,
    make(BASE | FROM_SEVEN, "fer-base-4", "fer-base, four classes", start_recipe="fer-base", data="fer4"),
    make(BASE | FROM_SEVEN | FERPLUS, "fer-base-ferplus", "fer-base on FER+", start_recipe="fer-base"),
    make(MEAN, "fer-ensemble", "fer-base and five fer-small", members=all_seeds(SMALLS, WEIGHTEDS, BASES)),
    make(BASE, "fer-large", "fer-large", model="fer-large", epochs=150, note="Prepared for accelerators."),
    make(SHORT, "fer-small@short", "fer-small, eight epochs"),
    make(SHORT, "fer-small@three", "fer-small on angry, disgust and fear", data="fer3", epochs=15),
    make(SHORT, "fer-small@votes", "fer-small on the votes of FER+", data="ferplus8", targets="votes"),
    make(FOLDS, "fer-small@folds", "fer-small, to judge images that it has not seen"),
    make(FOUR, "fer-small@four", "fer-small, four classes, from random initialisation"),
)

# From random initialisation, from seven classes and from the votes of FER+ (whose networks were trained on these
# images), and from the three other classes (which share no image with these four); the backbone frozen or trained; on
# ever fewer training images.
TRANSFER = {
    "start_recipe": [None, "fer-small@short", "fer-small@votes", "fer-small@three"],
    "frozen_body": [False, True],
    "train_fraction": [1.0, 1 / 4, 1 / 16, 1 / 64],
}
# Our own recipe with one ingredient removed, or added, at a time; on a short schedule, on validation only.
INGREDIENTS = {
    "as it is": {},
    "Adam": {"optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0},
    "no label smoothing": {"label_smoothing": 0.0},
    "no geometry": {"rotation_degrees": 0.0, "zoom": (1.0, 1.0), "shift_fraction": 0.0},
    "no erasing": {"erase_probability": 0.0},
    "mixup": {"mixup_alpha": 0.2},
    "no averaging": {"ema_decay": 0.0},
    "no weight decay": {"weight_decay": 0.0},
    "votes": {"targets": "votes"},
}
EACH = {"variant": list(INGREDIENTS), "seed": [0, 1, 2], "epochs": [15]}
WHY = "does transfer help, frozen or fine-tuned, and from how many images on"
SPACES = (
    Space("transfer", "fer-small@four", TRANSFER, WHY),
    Space("ingredients", "fer-small", EACH, "what each ingredient of our recipe gives", INGREDIENTS),
)
