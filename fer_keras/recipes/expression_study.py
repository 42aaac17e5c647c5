"""The networks of "Facial Expression Recognition" (B): seven classes, trained on Kaggle's folders."""

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

RECIPES = (
    Recipe(
        name="scratch-four-conv",
        title="Four convolutions",
        model="scratch-four-conv",
        published=54.16,
        note="The published log has the 225 steps of a batch of 128; the slide says 64.",
        **SEVEN,
    ),
    Recipe(name="general", title="Ensemble study, general", model="general", published=42.15, **SEVEN),
)
