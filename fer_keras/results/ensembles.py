"""Ensembles: combine the recorded predictions of several networks by their mean, or by stacking."""

import numpy as np

from fer_keras.labels import REST
from fer_keras.recipes import Recipe
from fer_keras.results.runs import Predictions, Run

FOLDS = 5
SMALLEST = 1e-4  # of a probability whose logarithm is taken; predictions are kept as float16


def combine(recipe: Recipe, members: list[Run], *, seed: int) -> dict[str, Predictions]:
    """Combine the members' predictions on validation, and on test if all of them have it; by split.

    `"mean"`: networks that tell one class from the rest give one distribution together, each class's probability over
    their sum; it is averaged with the distributions of the networks that know all classes. Nothing is fitted.
    `"stacking"`: multinomial logistic regression on the logarithms of all the members' probabilities, fitted on
    validation; its predictions on validation itself are from five-fold cross-validation, whose folds `seed` decides.
    """
    splits = [split for split in ("validation", "test") if all(split in run.metrics for run in members)]
    predictions = {split: [run.predictions(split) for run in members] for split in splits}
    labels = {split: ensemble_labels(recipe, members, each) for split, each in predictions.items()}
    if recipe.rule == "mean":
        found = {split: mean_rule(recipe.classes, members, each) for split, each in predictions.items()}
    else:
        found = stacking_rule(predictions, labels, len(recipe.classes), seed)
    return {split: predictions[split][0]._replace(labels=labels[split], probabilities=found[split]) for split in splits}


def ensemble_labels(recipe, members, predictions):
    """The labels in the ensemble's classes, int `(n,)`, from those of the members, which must agree."""
    rows = predictions[0].rows
    for run, member in zip(members, predictions, strict=True):
        if not np.array_equal(member.rows, rows):
            raise ValueError(
                f"Members of {recipe.name} must have predictions of the same images. Received: {members[0].run} and "
                f"{run.run}, whose rows differ. Train them on the same data."
            )
    given = np.array([np.array(run.classes)[each.labels] for run, each in zip(members, predictions, strict=True)])
    names = given[(given != REST).argmax(axis=0), np.arange(len(rows))]
    expected = [np.where(np.isin(names, run.classes), names, REST) for run in members]
    if (given != expected).any() or not np.isin(names, recipe.classes).all():
        raise ValueError(
            f"Members of {recipe.name} must agree on the labels. Received: images of two classes, or none. "
            "Train them on the same data."
        )
    return np.array([recipe.classes.index(name) for name in names])


def mean_rule(classes, members, predictions):
    """Average the members' distributions, those that tell one class from the rest taken as one."""
    single = np.zeros((len(predictions[0].rows), len(classes)))
    distributions = []
    for run, member in zip(members, predictions, strict=True):
        if run.classes[0] == REST:
            single[:, classes.index(run.classes[1])] = member.probabilities[:, 1]
        else:
            distributions.append(member.probabilities[:, [run.classes.index(name) for name in classes]])
    if single.any():
        single[~single.any(axis=1)] = 1  # where float16 left nothing of any, they prefer none
        distributions.append(single / single.sum(axis=1, keepdims=True))
    return np.mean(distributions, axis=0)


def stacking_rule(predictions, labels, num_classes, seed):
    """Fit a logistic regression on validation; its probabilities on each split, `(n, classes)`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    given = {split: np.hstack([each.probabilities for each in predictions[split]]) for split in predictions}
    inputs = {split: np.log(probabilities.clip(SMALLEST)) for split, probabilities in given.items()}
    x, y = inputs.pop("validation"), labels["validation"]
    if len(np.unique(y)) < num_classes:
        raise ValueError(
            f"Stacking needs validation images of all {num_classes} classes. Received: images of {np.unique(y)}. "
            "Take the rule 'mean', which fits nothing."
        )
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    probabilities = {"validation": cross_val_predict(classifier, x, y, cv=folds, method="predict_proba")}
    classifier.fit(x, y)
    return probabilities | {split: classifier.predict_proba(each) for split, each in inputs.items()}
