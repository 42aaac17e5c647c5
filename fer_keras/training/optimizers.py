"""Optimisers and their schedules, from a recipe."""

import keras

OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine")


def make_optimizer(recipe, steps_per_epoch):
    """Return the recipe's optimiser.

    Args:
        recipe: a `Recipe`.
        steps_per_epoch: int, how many batches an epoch has.

    Returns:
        A `keras.optimizers.Optimizer`; weight decay is decoupled and spares biases and batch normalisation.

    Raises:
        ValueError: on an unknown optimiser or schedule, or a schedule together with ReduceLROnPlateau.
    """
    if recipe.optimizer not in OPTIMIZERS or recipe.schedule not in SCHEDULES:
        raise ValueError(
            f"Recipe {recipe.name}: `optimizer` must be one of {OPTIMIZERS} and `schedule` one of {SCHEDULES}. "
            f"Received: {recipe.optimizer!r} and {recipe.schedule!r}."
        )
    rate = recipe.learning_rate
    if recipe.schedule == "cosine":
        if recipe.reduce_patience_epochs:
            raise ValueError(
                f"Recipe {recipe.name}: ReduceLROnPlateau needs a constant rate. Set `reduce_patience_epochs=0` or "
                "`schedule='constant'`."
            )
        if recipe.warmup_epochs >= recipe.epochs:
            raise ValueError(
                f"Recipe {recipe.name}: `warmup_epochs` must be less than `epochs`. "
                f"Received: {recipe.warmup_epochs} and {recipe.epochs}."
            )
        rate = cosine(recipe, steps_per_epoch)
    common = {"learning_rate": rate}
    if recipe.weight_decay:
        common["weight_decay"] = recipe.weight_decay
    if recipe.ema_decay:
        common |= {"use_ema": True, "ema_momentum": recipe.ema_decay}
    if recipe.optimizer == "sgd":
        optimizer = keras.optimizers.SGD(momentum=recipe.momentum, nesterov=True, **common)
    else:
        optimizer = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[recipe.optimizer](**common)
    if recipe.weight_decay:
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    # Every epoch is a `fit` of its own, and `fit` ends by overwriting the weights with their average; a session swaps.
    optimizer.finalize_variable_values = lambda variables: None
    return optimizer


def cosine(recipe, steps_per_epoch):
    """Linear warm-up to the recipe's rate, then a cosine down to zero at its last step."""
    warmup = round(recipe.warmup_epochs * steps_per_epoch)
    total = recipe.epochs * steps_per_epoch
    if not warmup:
        return keras.optimizers.schedules.CosineDecay(recipe.learning_rate, total)
    return keras.optimizers.schedules.CosineDecay(
        0.0, total - warmup, warmup_target=recipe.learning_rate, warmup_steps=warmup
    )
