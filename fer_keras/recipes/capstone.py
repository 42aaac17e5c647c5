"""The capstone's networks (C): four classes, on the official split and on the course set."""

from fer_keras.recipes.recipe import Recipe

SOURCE = "Palacios Boyce, capstone project, 2022"
AS_TAUGHT = {
    "system": "C",
    "data": "fer4",
    "batch_size": 32,
    "epochs": 20,
    "reduce_factor": 0.2,
    "reduce_patience_epochs": 3,
    "stop_patience_epochs": 3,
    "flip": True,
    "brightness": (0.0, 2.0),
    "shear_degrees": 0.3,
    "final": True,
    "published_source": SOURCE,
    "note": "The shear of .3 is in degrees, as Keras' ImageDataGenerator reads it: next to nothing. "
    "Stop and reduction share a patience of 3 epochs.",
}
FINAL_AS_TAUGHT = AS_TAUGHT | {
    "learning_rate": 3e-3,
    "epochs": 35,
    "reduce_factor": 0.1,
    "reduce_patience_epochs": 2,
    "reduce_floor": 1e-4,
}
FROZEN = AS_TAUGHT | {"weights": "imagenet"}
FINE_TUNED = AS_TAUGHT | {"learning_rate": 1e-5}
# For machines without ImageNet's weights: the same networks, all of them trained.
FROM_RANDOM = AS_TAUGHT | {"trainable_from": "everything"}

RECIPES = (
    Recipe(name="capstone-model-1", title="Capstone model 1", model="capstone-model-1", **AS_TAUGHT),
    Recipe(
        name="capstone-model-1@course",
        title="Capstone model 1, course set",
        model="capstone-model-1",
        protocol="course",
        **AS_TAUGHT,
    ),
    Recipe(name="capstone-model-2", title="Capstone model 2", model="capstone-model-2", **AS_TAUGHT),
    Recipe(
        name="capstone-model-2@course",
        title="Capstone model 2, course set",
        model="capstone-model-2",
        protocol="course",
        **AS_TAUGHT,
    ),
    Recipe(name="capstone-final", title="Capstone final", model="capstone-final", **FINAL_AS_TAUGHT),
    Recipe(
        name="capstone-final@course",
        title="Capstone final, course set",
        model="capstone-final",
        protocol="course",
        published=93.0,
        published_split="128 course images",
        **FINAL_AS_TAUGHT,
    ),
    Recipe(name="vgg16", title="VGG16, frozen", model="vgg16", **FROZEN),
    Recipe(
        name="vgg16@finetuned",
        title="VGG16, last block fine-tuned",
        model="vgg16",
        start_recipe="vgg16",
        trainable_from="block5_conv1",
        **FINE_TUNED,
    ),
    Recipe(name="inception-resnet-v2", title="InceptionResNetV2, frozen", model="inception-resnet-v2", **FROZEN),
    Recipe(
        name="inception-resnet-v2@finetuned",
        title="InceptionResNetV2, last block fine-tuned",
        model="inception-resnet-v2",
        start_recipe="inception-resnet-v2",
        trainable_from="conv_7b",
        **FINE_TUNED,
    ),
    Recipe(name="efficientnet", title="EfficientNet-B0, frozen", model="efficientnet", **FROZEN),
    Recipe(
        name="efficientnet@finetuned",
        title="EfficientNet-B0, last block fine-tuned",
        model="efficientnet",
        start_recipe="efficientnet",
        trainable_from="block7a_expand_conv",
        **FINE_TUNED,
    ),
    Recipe(name="vgg16@random", title="VGG16, random values", model="vgg16", **FROM_RANDOM),
    Recipe(
        name="inception-resnet-v2@random",
        title="InceptionResNetV2, random values",
        model="inception-resnet-v2",
        **FROM_RANDOM,
    ),
    Recipe(name="efficientnet@random", title="EfficientNet-B0, random values", model="efficientnet", **FROM_RANDOM),
)
