"""Any Keras classifier in a file becomes a network once its classes are named, or is refused with a clear error."""

import json
import pickle

import h5py
import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

import fer_keras
from fer_keras.data.synthetic import drawn_faces
from fer_keras.evaluation.explain import explain
from fer_keras.labels import FER4, check_classes
from fer_keras.models import load
from fer_keras.models.adapter import adapt
from fer_keras.models.weights import FIELDS, as_network, folder
from fer_keras.recognition.heat import explain_picture
from fer_keras.recognition.networks import open_network
from fer_keras.recognition.recognizer import Recognizer

HEADS = {
    "softmax": lambda x: layers.Dense(4, activation="softmax")(x),
    "logits": lambda x: layers.Dense(4)(x),
    "named logits": lambda x: layers.Activation("linear", dtype="float32")(layers.Dense(4)(x)),
    "softmax layer": lambda x: layers.Softmax()(layers.Dense(4)(x)),
    "softmax operation": lambda x: keras.ops.softmax(layers.Dense(4)(x)),
    "softmax in float32": lambda x: layers.Activation("linear")(layers.Dense(4, activation="softmax")(x)),
    "log softmax": lambda x: layers.Dense(4, activation="log_softmax")(x),
    "four sigmoids": lambda x: layers.Dense(4, activation="sigmoid")(x),
    "nested logits": lambda x: keras.Sequential([keras.Input(x.shape[1:]), layers.Dense(4)])(x),
    "one sigmoid": lambda x: layers.Dense(1, activation="sigmoid")(x),
    "one logit": lambda x: layers.Dense(1)(x),
    "one sigmoid activation": lambda x: layers.Activation("sigmoid")(layers.Dense(1)(x)),
    "one logit without a bias": lambda x: layers.Dense(1, use_bias=False)(x),
    "one nested sigmoid": lambda x: keras.Sequential([keras.Input(x.shape[1:]), layers.Dense(1, "sigmoid")])(x),
}


def network(head="softmax", *, size=(48, 48), channels=1, dtype=None):
    """A small network with random initialisation and one of `HEADS`."""
    keras.utils.set_random_seed(4)
    inputs = keras.Input((*size, channels))
    x = layers.Conv2D(6, 5, strides=3, activation="relu", dtype=dtype)(layers.Rescaling(1 / 255)(inputs))
    return keras.Model(inputs, HEADS[head](layers.Flatten()(layers.MaxPooling2D(4)(x))), name="mine")


def expected(model, head, images):
    """What a network's predictions are as probabilities, by NumPy."""
    raw = model.predict_on_batch(images).astype(np.float64)
    if head.startswith("one logit"):
        raw = 1 / (1 + np.exp(-raw))
    if head.startswith("one"):
        return np.concatenate([1 - raw, raw], axis=1)
    if "logits" in head or head.startswith("log"):
        raw = np.exp(raw - raw.max(axis=1, keepdims=True))
    return raw / raw.sum(axis=1, keepdims=True)


@pytest.fixture(scope="module")
def images():
    return drawn_faces(3, seed=1).images


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("head", HEADS)
def test_a_plain_file_predicts_probabilities_once_its_classes_are_named(head, suffix, tmp_path, images):
    if (head, suffix) == ("softmax operation", ".h5"):
        pytest.skip("Keras' older format knows no operations")
    model, classes = network(head), FER4[:2] if head.startswith("one") else FER4
    model.save(tmp_path / f"of-mine{suffix}")
    found = load(tmp_path / f"of-mine{suffix}", classes=list(classes))
    assert (found.name, found.classes, found.size, found.temperature) == ("of-mine", classes, (48, 48), 1.0)
    assert set(FIELDS) <= set(found.card)
    predictions = found.predict(images)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions, expected(model, head, images), atol=1e-6)
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-6)
    assert [path.name for path in tmp_path.iterdir()] == [f"of-mine{suffix}"]


@pytest.mark.parametrize("head", ["softmax", "logits", "one sigmoid"])
@pytest.mark.parametrize("size", [(48, 48), (64, 40)])
def test_colour_and_other_sizes(head, size, tmp_path):
    model, classes = network(head, size=size, channels=3), FER4[:2] if head.startswith("one") else FER4
    model.save(tmp_path / "colour.keras")
    found = load(tmp_path / "colour.keras", classes=classes)
    assert found.size == size
    grey = np.random.default_rng(0).integers(0, 256, (5, *size, 1), np.uint8)
    wanted = expected(model, head, grey.repeat(3, axis=3).astype(np.float32))
    np.testing.assert_allclose(found.predict(grey), wanted, atol=1e-6)


def test_a_network_that_is_as_ours_are_is_not_wrapped(images):
    model = network()
    assert adapt(model, 4) is model
    found = as_network(model, FER4)
    assert found.model is model
    assert found.name == "mine"
    assert len(found.card["sha256"]) == 64
    again = as_network(keras.models.clone_model(model), FER4)
    assert again.card["sha256"] != found.card["sha256"], "other values"
    np.testing.assert_allclose(found.predict(images), model.predict_on_batch(images), atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("head", ["logits", "one sigmoid", "one logit", "one sigmoid activation"])
def test_what_is_wrapped_is_explained_as_its_like_with_a_softmax(head, channels, images):
    model, classes = network(head, channels=channels), FER4[:2] if head.startswith("one") else FER4
    like = network("softmax", channels=channels)
    dense = next(layer for layer in reversed(model.layers) if layer.weights)
    values = dense.get_weights()
    if head.startswith("one"):
        values = [np.stack([np.zeros_like(value[..., 0]), value[..., 0]], axis=-1) for value in values]
        body = keras.Model(like.input, like.layers[-1].input)
        like = keras.Model(body.input, layers.Dense(2, activation="softmax")(body.output))
    like.set_weights([*model.get_weights()[:2], *values])
    assert explain(as_network(model, classes).model, images[:0]).shape == (0, 48, 48)
    for method in ("grad-cam", "occlusion"):
        maps = [explain(as_network(each, classes).model, images, method=method) for each in (model, like)]
        np.testing.assert_allclose(*maps, atol=2e-3)
        assert maps[0].max() == 1


@pytest.mark.parametrize("head", ["softmax", "logits", "one sigmoid"])
def test_a_network_of_mixed_precision_gives_float32(head, images):
    policy = keras.config.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        model, classes = network(head), FER4[:2] if head.startswith("one") else FER4
        predictions = as_network(model, classes).predict(images)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    assert predictions.dtype == np.float32
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-2)


@pytest.mark.parametrize(
    "classes",
    [
        "happy",
        ["happy"],
        [],
        ["happy", "happy"],
        ["happy", ""],
        ["happy", " "],
        ["happy", 3],
        {"happy", "sad"},
        4,
        b"ab",
    ],
)
def test_classes_that_are_none_are_refused_by_name(classes, tmp_path):
    network().save(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match=r"`classes` must be two or more different names.*Received: .*Pass a list"):
        load(tmp_path / "mine.keras", classes=classes)
    with pytest.raises(ValueError, match="`classes` must be two or more"):
        load("fer-small-4", classes=classes)


def test_classes_of_any_ordered_kind_are_taken():
    for classes in (list(FER4), np.array(FER4), iter(FER4)):
        assert check_classes(classes) == FER4


def test_a_file_without_card_and_classes_asks_for_classes(tmp_path):
    network().save(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match=r"mine\.json: Expected the card.*Pass classes=.*--classes"):
        load(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match=r"mine: Expected the names of its classes"):
        as_network(network(), None)


@pytest.mark.parametrize(("head", "classes"), [("softmax", FER4[:3]), ("softmax", FER4[:2]), ("one sigmoid", FER4)])
def test_another_number_of_classes_is_refused(head, classes, tmp_path):
    network(head).save(tmp_path / "mine.keras")
    message = rf"mine: Expected an output of \(batch, {len(classes)}\).*Received: \(None, \d\)\. Name as many"
    with pytest.raises(ValueError, match=message):
        load(tmp_path / "mine.keras", classes=classes)


def test_the_classes_of_a_card_must_be_those_that_are_given():
    assert load("fer-small-4", classes=list(FER4)).classes == FER4
    with pytest.raises(ValueError, match=r"classes of its card, happy, sad, surprise, neutral\. Received: sad, happy"):
        load("fer-small-4", classes=["sad", "happy", "surprise", "neutral"])


def test_the_layers_beside_a_file_are_no_card_and_half_a_card_is_one(tmp_path):
    model = network()
    model.save(tmp_path / "model.h5")
    (tmp_path / "model.json").write_text(model.to_json())
    assert load(tmp_path / "model.h5", classes=FER4).name == "model"
    for content in (json.dumps({"classes": list(FER4)}), "{", ""):
        (tmp_path / "model.json").write_text(content)
        with pytest.raises(ValueError, match=r"model\.json: Expected (a|the) card"):
            load(tmp_path / "model.h5", classes=FER4)


@keras.saving.register_keras_serializable("tests")
class Subclassed(keras.Model):
    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4, activation="softmax")

    def call(self, x):
        return self.dense(keras.ops.mean(x, axis=(1, 2)))


def unusual(**shapes):
    """A softmax of an input of another shape."""
    inputs = keras.Input(**shapes)
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(inputs)))


def of_two(inputs, outputs):
    """A network of several inputs and outputs."""
    given = [keras.Input((48, 48, 1)) for _ in range(inputs)]
    x = layers.Flatten()(layers.Add()(given) if inputs > 1 else given[0])
    return keras.Model(given, [layers.Dense(4, activation="softmax")(x) for _ in range(outputs)])


def with_activation(activation, number=4):
    inputs = keras.Input((48, 48, 1))
    return keras.Model(inputs, layers.Dense(number, activation=activation)(layers.Flatten()(inputs)))


def built_subclass():
    model = Subclassed()
    model(np.zeros((1, 48, 48, 1), np.float32))
    return model


REFUSED = {
    "subclassed": (built_subclass, r"built Sequential or Functional model.*Subclassed.*cannot be used here"),
    "unbuilt": (lambda: keras.Sequential([layers.Flatten(), layers.Dense(4)]), r"Begin it with keras\.Input"),
    "two outputs": (lambda: of_two(1, 2), r"one input and one output\. Received: 1 and 2\. Build one"),
    "two inputs": (lambda: of_two(2, 1), "Received: 2 and 1"),
    "flat input": (lambda: unusual(shape=(2304,)), r"of a fixed size\. Received: \(None, 2304\)"),
    "two channels": (lambda: unusual(shape=(48, 48, 2)), r"Received: \(None, 48, 48, 2\)"),
    "channels first": (lambda: unusual(shape=(1, 48, 48)), r"Received: \(None, 1, 48, 48\)"),
    "fixed batch": (lambda: unusual(batch_shape=(8, 48, 48, 1)), r"Received: \(8, 48, 48, 1\)"),
    "relu": (lambda: with_activation("relu"), "softmax, sigmoid or linear.*Received: relu of 4 outputs"),
    "maps": (
        lambda: keras.Sequential([keras.Input((48, 48, 1)), layers.Conv2D(4, 3)]),
        r"Received: \(None, 46, 46, 4\)",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_model_that_is_no_classifier_of_faces_is_refused(kind):
    make, message = REFUSED[kind]
    with pytest.raises(ValueError, match=message):
        as_network(make(), FER4)


def test_one_softmax_and_what_is_no_model_are_refused():
    with pytest.raises(ValueError, match=r"no softmax of one output.*softmax of 1 output"):
        as_network(with_activation("softmax", 1), FER4[:2])
    with pytest.raises(ValueError, match=r"int: Expected a keras\.Model"):
        as_network(3, FER4)


def test_a_network_of_any_size_of_picture_is_refused():
    inputs = keras.Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    with pytest.raises(ValueError, match=r"of a fixed size\. Received: \(None, None, None, 3\)"):
        as_network(keras.Model(inputs, layers.Softmax()(x)), FER4)


def with_lambda(ran):
    """A network whose file holds code: run, it writes a file."""
    code = layers.Lambda(lambda x: (__import__("pathlib").Path(ran).write_text("ran"), x)[1])
    inputs = keras.Input((48, 48, 1))
    return keras.Model(inputs, layers.Dense(4, activation="softmax")(layers.Flatten()(code(inputs))))


class Evil:
    """A pickle that writes a file."""

    def __init__(self, ran):
        self.ran = ran

    def __reduce__(self):
        return open, (str(self.ran), "w")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_no_code_in_a_file_runs(suffix, tmp_path):
    ran, path = tmp_path / "ran", tmp_path / f"mine{suffix}"
    with_lambda(str(ran)).save(path)
    ran.unlink()
    with pytest.raises(ValueError, match=r"Expected a whole network of Keras' own layers.*Received: .*`?[Ll]ambda"):
        load(path, classes=FER4)
    path.write_bytes(pickle.dumps(Evil(ran)))
    with pytest.raises(ValueError, match="Expected a whole network"):
        load(path, classes=FER4)
    assert not ran.exists()


def test_layers_of_others_are_refused_unless_they_are_registered(tmp_path):
    model = built_subclass()
    model.save(tmp_path / "mine.keras")
    with pytest.raises(ValueError, match="a subclassed model cannot be used"):
        load(tmp_path / "mine.keras", classes=FER4)
    known = keras.saving.get_custom_objects()
    name = next(name for name, found in known.items() if found is Subclassed)
    taken = known.pop(name)
    try:
        with pytest.raises(ValueError, match="Expected a whole network of Keras' own layers"):
            load(tmp_path / "mine.keras", classes=FER4)
    finally:
        known[name] = taken


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize(
    "damage", [lambda content: b"", lambda content: content[:-3000], lambda content: b"no network"]
)
def test_a_damaged_file_is_refused(damage, suffix, tmp_path):
    path = tmp_path / f"mine{suffix}"
    network().save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"mine\.(keras|h5): Expected a whole network.*Save it with model\.save"):
        load(path, classes=FER4)


def test_values_alone_are_refused(tmp_path):
    network().save_weights(tmp_path / "mine.weights.h5")
    with pytest.raises(ValueError, match="with its layers and not its weights alone"):
        load(tmp_path / "mine.weights.h5", classes=FER4)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["numbers"] = np.zeros(3)
    with pytest.raises(ValueError, match="Expected a whole network"):
        load(tmp_path / "other.h5", classes=FER4)


def photo():
    """A grey picture that is all face, for a recogniser without a detector."""
    return drawn_faces(3, seed=3).images[0, ..., 0]


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_recognises_explains_and_exports_once_its_classes_are_named(suffix, tmp_path):
    model, path = network("logits", channels=3), tmp_path / f"mine{suffix}"
    model.save(path)
    wanted = expected(model, "logits", photo()[None, ..., None].repeat(3, axis=3).astype(np.float32))[0]
    options = {"classes": list(FER4), "detector": None, "min_confidence": 0}
    for given in (path, str(path), model, load(path, classes=FER4)):
        (face,) = fer_keras.recognize(photo(), network=given, **options)
        assert tuple(face.probabilities) == FER4
        np.testing.assert_allclose(list(face.probabilities.values()), wanted, atol=1e-5)
    Image.fromarray(photo()).save(tmp_path / "face.png")
    ((face, shares),) = explain_picture(tmp_path / "face.png", tmp_path / "out.png", network=path, **options)
    np.testing.assert_allclose(list(face.probabilities.values()), wanted, atol=1e-5)
    assert sum(shares.values()) == pytest.approx(1, abs=1e-4)
    table = fer_keras.recognize_folder(tmp_path, network=path, **options)
    np.testing.assert_allclose(table.loc[table.picture == "face.png", list(FER4)].to_numpy()[0], wanted, atol=1e-4)
    (tmp_path / "made").mkdir()
    exported = open_network(fer_keras.export(path, tmp_path / "made" / "mine.onnx", classes=FER4))
    assert (exported.name, exported.classes, exported.size) == ("mine", FER4, (48, 48))
    np.testing.assert_allclose(exported.predict(photo()[None])[0], wanted, atol=1e-5)


def test_without_classes_a_file_or_a_model_asks_for_them_everywhere(tmp_path):
    model, path = network(), tmp_path / "mine.keras"
    model.save(path)
    for given in (path, str(path), model):
        for use in (
            lambda given: Recognizer(given, detector=None),
            lambda given: fer_keras.recognize(photo(), network=given, detector=None),
            lambda given: explain_picture(photo(), tmp_path / "out.png", network=given, detector=None),
            lambda given: fer_keras.export(given, tmp_path / "mine.onnx"),
        ):
            with pytest.raises(ValueError, match=r"Pass classes=\['happy', \.\.\.\] \(--classes\), in the order"):
                use(given)
    assert [each.name for each in tmp_path.iterdir()] == ["mine.keras"]


def test_another_order_of_classes_is_another_network(tmp_path):
    network().save(tmp_path / "mine.keras")
    options = {"network": tmp_path / "mine.keras", "detector": None, "min_confidence": 0}
    (one,) = fer_keras.recognize(photo(), classes=FER4, **options)
    (other,) = fer_keras.recognize(photo(), classes=FER4[::-1], **options)
    assert list(one.probabilities.values()) == list(other.probabilities.values())
    assert one.emotion == FER4[FER4[::-1].index(other.emotion)]


@pytest.mark.parametrize("given", ["fer-small-4", str(folder() / "fer-small-4.onnx"), folder() / "fer-small-4.keras"])
def test_the_classes_of_whatever_has_a_card_must_agree(given):
    assert Recognizer(given, classes=FER4, detector=None).classes == FER4
    for network_of_it in (given, open_network(given)):
        with pytest.raises(ValueError, match=r"Expected the classes of its card, happy, .*Leave out `classes`"):
            Recognizer(network_of_it, classes=FER4[::-1], detector=None)


def test_what_runs_on_onnx_runtime_cannot_be_explained_or_exported_again(tmp_path):
    for given in (folder() / "fer-small-4.onnx", str(folder() / "fer-small-4.onnx")):
        with pytest.raises(ValueError, match=r"Expected a network of Keras\. Received: an \.onnx file"):
            fer_keras.export(given, tmp_path / "made.onnx")
    with pytest.raises(ValueError, match=r"Expected a keras\.Model.*OnnxNetwork"):
        fer_keras.export(open_network("fer-small-4"), tmp_path / "made.onnx", classes=FER4)
