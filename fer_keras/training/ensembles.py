"""Several networks as one: rules that combine what recorded runs say of the same images."""

import numpy as np

from fer_keras.labels import REST

FOLDS = 5
SMALLEST = 1e-4  # of a probability whose logarithm is taken; predictions are kept as float16


def combine(recipe, members, *, seed):
    """Return what an ensemble says of validation and of each other split that all its members were asked about.

    Rules:
    - `"mean"`: networks that tell one class from the rest give one distribution together, each class's probability
      over their sum; it is averaged with the distributions of the networks that know all classes. Nothing is fitted.
    - `"stacking"`: multinomial logistic regression on the logarithms of all the members' probabilities, fitted on
      validation; what it says of validation itself is from five-fold cross-validation.

    Args:
        recipe: a `Recipe` with members.
        members: their `Run`s.
        seed: int, draws the folds.

    Returns:
        Dict from split to `(predictions, probabilities)`: the `Predictions` of the first member, for its rows and
        copies, its labels replaced by classes of the ensemble; and float `(n, classes)`.

    Raises:
        ValueError: if the members were not asked about the same images.
    """
    splits = [split for split in ("validation", "test") if all(split in run.metrics for run in members)]
    asked = {split: [run.predictions(split) for run in members] for split in splits}
    labels = {split: labels_of(recipe, members, predictions) for split, predictions in asked.items()}
    if recipe.rule == "mean":
        said = {split: mean_rule(recipe.classes, members, asked[split]) for split in splits}
    else:
        inputs = {split: logarithms(predictions) for split, predictions in asked.items()}
        said = stacking_rule(inputs, labels, len(recipe.classes), seed)
    return {split: (asked[split][0]._replace(labels=labels[split]), said[split]) for split in splits}


def labels_of(recipe, members, predictions):
    """Return the true classes, int `(n,)`, put together from what the members were told; all must agree."""
    rows = predictions[0].rows
    marks = np.zeros((len(rows), len(recipe.classes)), int)
    for run, found in zip(members, predictions, strict=True):
        if not np.array_equal(found.rows, rows):
            raise ValueError(
                f"Members of {recipe.name} must have been asked about the same images. Received: {members[0].run} and "
                f"{run.run}, whose rows differ. Train them on the same data."
            )
        names = np.array(run.classes)[found.labels]
        for index, name in enumerate(recipe.classes):
            marks[:, index] += names == name
    expected = np.array([sum(name in run.classes for run in members) for name in recipe.classes])
    labels = marks.argmax(axis=1)
    if (marks.max(axis=1) != expected[labels]).any() or (marks.sum(axis=1) != marks.max(axis=1)).any():
        raise ValueError(
            f"Members of {recipe.name} must agree on the labels. Received: images of two classes, or none."
        )
    return labels


def mean_rule(classes, members, predictions):
    """Return the mean of the members' distributions, those that tell one class from the rest taken as one."""
    single = np.zeros((len(predictions[0].rows), len(classes)))
    distributions = []
    for run, found in zip(members, predictions, strict=True):
        if run.classes[0] == REST:
            single[:, classes.index(run.classes[1])] = found.probabilities[:, 1]
        else:
            distributions.append(found.probabilities[:, [run.classes.index(name) for name in classes]])
    if single.any():
        single[~single.any(axis=1)] = 1  # where float16 left nothing of any, they prefer none
        distributions.append(single / single.sum(axis=1, keepdims=True))
    return np.mean(distributions, axis=0)


def stacking_rule(inputs, labels, num_classes, seed):
    """Return what a logistic regression, fitted on validation, says of each split."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    learner = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    x, y = inputs["validation"], labels["validation"]
    if len(np.unique(y)) < num_classes:
        raise ValueError(f"Stacking needs validation images of all {num_classes} classes. Received: {np.unique(y)}.")
    said = {"validation": cross_val_predict(learner, x, y, cv=folds, method="predict_proba")}
    learner.fit(x, y)
    return said | {split: learner.predict_proba(inputs[split]) for split in inputs if split != "validation"}


def logarithms(predictions):
    """Return the logarithms of all the members' probabilities side by side, `(n, columns)`."""
    return np.concatenate([np.log(found.probabilities.clip(SMALLEST)) for found in predictions], axis=1)
