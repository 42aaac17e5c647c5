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
    "final": True,
}

RECIPES = (Recipe(name="fer-small", title="fer-small", **SMALL),)
