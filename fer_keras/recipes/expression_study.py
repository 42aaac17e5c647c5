"""The networks of "Facial Expression Recognition" (B): seven classes, trained on Kaggle's folders."""

from fer_keras.labels import FER7
from fer_keras.recipes.recipe import Recipe

SOURCE = "Assefa, Burrell and Gomtsyan, Facial Expression Recognition"
KAGGLE = "validation of Kaggle's folders"
SEVEN = {
    "system": "B",
    "data": "fer7",
    "batch_size": 128,
    "epochs": 20,
    "reduce_factor": 0.2,
    "reduce_patience_epochs": 3,
    "stop_patience_epochs": 3,
    "final": True,
    "published_split": KAGGLE,
    "published_source": SOURCE,
}
# What the slides say of both pretrained networks; their augmentation is not said, and ours is a guess.
PRETRAINED = {
    **SEVEN,
    "weights": "imagenet",
    "trainable_from": "everything",
    "batch_size": 64,
    "reduce_patience_epochs": 0,
    "stop_patience_epochs": 0,
    "flip": True,
    "rotation_degrees": 20.0,
}
# For machines without ImageNet's weights.
FROM_RANDOM = PRETRAINED | {"weights": None}
# Published accuracy of each network that tells one emotion from the rest.
ONE_VS_REST = {
    "angry": 86.41,
    "disgust": 98.43,
    "fear": 85.59,
    "happy": 74.17,
    "sad": 83.88,
    "surprise": 88.72,
    "neutral": 82.79,
}

NETWORKS = (
    Recipe(
        name="scratch-four-conv",
        title="Four convolutions",
        model="scratch-four-conv",
        published=54.16,
        note="The published log has the 225 steps of a batch of 128; the slide says 64.",
        **SEVEN,
    ),
    Recipe(name="general", title="Ensemble study, general", model="general", published=42.15, **SEVEN),
    Recipe(name="resnet101", title="ResNet-101", model="resnet101", published=64.43, **PRETRAINED),
    Recipe(name="efficientnet-b5", title="EfficientNet-B5", model="efficientnet-b5", published=51.34, **PRETRAINED),
    Recipe(name="resnet101@random", title="ResNet-101, random initialisation", model="resnet101", **FROM_RANDOM),
    Recipe(
        name="efficientnet-b5@random",
        title="EfficientNet-B5, random initialisation",
        model="efficientnet-b5",
        **FROM_RANDOM,
    ),
    *(
        Recipe(
            name=f"one-vs-rest-{name}",
            title=f"{name.capitalize()} against the rest",
            model="one-vs-rest",
            positive=name,
            published=ONE_VS_REST[name],
            note="Its accuracy means little for a rare class: naming the rest for everything scores nearly as well.",
            **SEVEN,
        )
        for name in FER7
    ),
)
SINGLE = tuple((recipe.name, recipe.digest) for recipe in NETWORKS if recipe.positive)
GENERAL = tuple((recipe.name, recipe.digest) for recipe in NETWORKS if recipe.name == "general")
COMBINED = {
    "system": "B",
    "model": "ensemble",
    "data": "fer7",
    "final": True,
    "published_split": KAGGLE,
    "published_source": SOURCE,
}

RECIPES = (
    *NETWORKS,
    Recipe(
        name="ensemble-single",
        title="Ensemble of the single-emotion networks",
        members=SINGLE,
        rule="mean",
        published=40.16,
        **COMBINED,
    ),
    Recipe(
        name="ensemble-single-and-general",
        title="Ensemble of single-emotion and general network",
        members=SINGLE + GENERAL,
        rule="mean",
        published=45.08,
        **COMBINED,
    ),
    Recipe(
        name="stacking",
        title="Stacking of single-emotion and general network",
        members=SINGLE + GENERAL,
        rule="stacking",
        published=40.83,
        **COMBINED,
    ),
)
