"""CS337's network (D): mini-Xception on seven classes."""

from fer_keras.recipes.recipe import Recipe

SEVEN = {
    "system": "D",
    "model": "mini-xception",
    "data": "fer7",
    "batch_size": 32,
    "epochs": 300,
    "reduce_factor": 0.1,
    "reduce_patience_epochs": 12,
    "stop_patience_epochs": 50,
    "flip": True,
    "rotation_degrees": 10.0,
    "shift_fraction": 0.1,
    "zoom": (0.9, 1.1),
    "zoom_apart": True,
    "final": True,
    "published": 65.0,
    "published_split": "validation",
    "published_source": "Hari Krishna, Kumar, Hebbar and Vaddela, CS337",
    "note": "Published after 85 epochs.",
}

RECIPES = (
    Recipe(name="mini-xception", title="mini-Xception", **SEVEN),
    Recipe(
        name="mini-xception@four-fifths",
        title="mini-Xception, a random fifth of all rows for validation",
        protocol="four-fifths",
        **SEVEN | {"final": False, "note": "The students' own split: duplicates fall on both sides."},
    ),
    Recipe(name="mini-xception@64x64", title="mini-Xception, 64x64", model_options=(("side", 64),), **SEVEN),
)
