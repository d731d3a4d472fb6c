"""Files of Keras 2: nested models, depthwise convolutions, operators of TensorFlow, and what is refused."""

import keras
import numpy as np
import pytest
from keras import layers

from engine import formats
from engine.errors import BadInput
from engine.formats.keras import operators
from engine.formats.keras.known import TENSORFLOW
from tests.formats.keras2_files import entry, functional, h5, image, sequential, v3

SHAPE = (16, 16, 3)
IMAGES = np.random.default_rng(0).random((3, *SHAPE), np.float32)


def twin():
    """The network of Keras 3 that the files below describe as Keras 2 would."""
    keras.utils.set_random_seed(4)
    base = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, activation="relu", name="conv"),
            layers.DepthwiseConv2D(3, use_bias=False, name="depth"),
            layers.BatchNormalization(name="bn"),
        ]
    )
    head = keras.Sequential([keras.Input((4,)), layers.Dense(5, activation="softmax", name="dense")])
    model = keras.Sequential([keras.Input(SHAPE), base, layers.GlobalAveragePooling2D(), head])
    random = np.random.default_rng(1)
    base.layers[-1].set_weights([random.uniform(0.5, 1.5, 4) for _ in range(4)])
    return model, {layer.name: layer.get_weights() for layer in (*base.layers, *head.layers)}


def base_layers(frozen: bool = False) -> list[dict]:
    reads = [[name, 0, 0, {}] for name in ("inner_image", "conv", "depth")]
    made = [
        image("inner_image", SHAPE),
        entry("Conv2D", "conv", [reads[0]], filters=4, kernel_size=[3, 3], activation="relu", groups=1),
        entry("DepthwiseConv2D", "depth", [reads[1]], kernel_size=[3, 3], use_bias=False, groups=1),
        entry("BatchNormalization", "bn", [reads[2]], axis=[3], momentum=0.99, epsilon=0.001),
    ]
    for layer in made:
        layer["config"]["trainable"] = not frozen
    return made


def outer(kind: str, frozen: bool = False) -> dict:
    dense = entry("Dense", "dense", [["pool", 0, 0, {}]], units=5, activation="softmax")
    pool = entry("GlobalAveragePooling2D", "pool", [["base", 1, 0, {}]])
    if kind == "functional":
        base = functional("base", base_layers(frozen), [["image", 0, 0, {"training": False}]])
        return functional("model", [image("image", SHAPE), base, pool, dense])
    first = entry("InputLayer", "image", batch_input_shape=[None, *SHAPE])
    return sequential("model", [first, functional("base", base_layers(frozen)), pool, dense])


def named(weights: dict, frozen: bool, told: bool) -> dict:
    """The groups of an `.h5`: trainable weights first where they are not frozen; names that tell, or not."""
    conv, depth, bn = (weights[name] for name in ("conv", "depth", "bn"))
    names = [("conv", conv), ("depth", depth), ("bn", bn if frozen else bn[:2])]
    rows = [(f"{n}/{i}:0", a) for n, arrays in names for i, a in enumerate(arrays)]
    rows += [] if frozen else [(f"bn/{i + 2}:0", a) for i, a in enumerate(bn[2:])]
    if not told:
        rows = [(f"x/w{place}:0", array) for place, (_, array) in enumerate(rows)]
    return {"base": rows, "pool": [], "dense": [(f"dense/{i}:0", a) for i, a in enumerate(weights["dense"])]}


def opened(path):
    kind = formats.recognise(path)
    formats.check(path, kind)
    return formats.openings(path, kind, None, None)[0]


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("kind", ["functional", "sequential"])
def test_a_nested_base_gets_its_own_weights(kind, frozen, told, tmp_path):
    model, weights = twin()
    path = h5(tmp_path / "model.h5", outer(kind, frozen), named(weights, frozen, told))
    assert np.allclose(opened(path).predict(IMAGES), model(IMAGES), atol=1e-5)


@pytest.mark.parametrize("container", ["layers", "_layer_checkpoint_dependencies"])
def test_a_keras_file_of_version_2(container, tmp_path):
    model, weights = twin()
    base = f"{container}/functional/{container}"
    stored = {
        f"{base}/conv2d": weights["conv"],
        f"{base}/depthwise_conv2d": weights["depth"],
        f"{base}/batch_normalization": weights["bn"],
        f"{container}/dense": weights["dense"],
    }
    path = v3(tmp_path / "model.keras", outer("functional"), stored)
    assert np.allclose(opened(path).predict(IMAGES), model(IMAGES), atol=1e-5)


def operator(name: str, reads: list, function: str) -> dict:
    return entry("TFOpLambda", name, [reads], function=function)


def with_operators(*made: dict) -> dict:
    last = made[-1]["name"]
    pool = entry("GlobalAveragePooling2D", "pool", [[last, 0, 0, {}]])
    return functional("model", [image("image", SHAPE), *made, pool])


def test_operators_of_tensorflow_become_layers(tmp_path):
    config = with_operators(
        operator("scaled", ["image", 0, 0, {"y": 127.5, "name": None}], "math.truediv"),
        operator("shifted", ["scaled", 0, 0, {"y": 1.0, "name": None}], "math.subtract"),
        operator("turned", ["_CONSTANT_VALUE", -1, 255.0, {"y": ["shifted", 0, 0]}], "math.subtract"),
        operator("biased", ["turned", 0, 0, {"bias": [1.0, 2.0, 3.0], "data_format": None}], "nn.bias_add"),
        entry(
            "SlicingOpLambda",
            "blue",
            [
                [
                    "biased",
                    0,
                    0,
                    {
                        "slice_spec": [
                            {"class_name": "__ellipsis__"},
                            {"start": None, "stop": None, "step": -1},
                        ]
                    },
                ]
            ],
            function="__operators__.getitem",
        ),
        operator("sum", ["blue", 0, 0, {"y": ["shifted", 0, 0], "name": None}], "__operators__.add"),
    )
    x = IMAGES / 127.5 - 1
    wanted = (((255 - x) + [1, 2, 3])[..., ::-1] + x).mean((1, 2))
    assert np.allclose(opened(h5(tmp_path / "ops.h5", config, {})).predict(IMAGES), wanted, rtol=1e-5)


def test_the_list_that_is_checked_is_the_list_that_is_built():
    assert set(operators.OPERATORS) == TENSORFLOW


@pytest.mark.parametrize(
    ("made", "says"),
    [
        (operator("odd", ["image", 0, 0, {}], "io.write_file"), "io.write_file"),
        (operator("odd", ["image", 0, 0, {"dtype": "uint8"}], "cast"), "rounds"),
        (operator("odd", ["odd", 0, 0, {"y": 1.0}], "math.add"), "circle"),
        (entry("Lambda", "odd", [["image", 0, 0, {}]], function=["4wEA", None, None]), "Lambda"),
    ],
)
def test_what_can_not_be_built_is_refused_in_one_sentence(made, says, tmp_path):
    with pytest.raises(BadInput, match=says):
        opened(h5(tmp_path / "odd.h5", with_operators(made), {}))


def test_models_that_call_each_other_twice_and_twice_again_end(tmp_path):
    made = functional("m0", [image("i0", SHAPE), entry("ReLU", "r", [["i0", 0, 0, {}]])])
    for level in range(1, 14):
        reads = [f"i{level}", 0, 0, {}]
        inner = made | {"inbound_nodes": [[reads], [[f"m{level - 1}", 1, 0, {}]]]}
        made = functional(f"m{level}", [image(f"i{level}", SHAPE), inner])
        made["config"]["output_layers"] = [[f"m{level - 1}", 2, 0]]
    with pytest.raises(BadInput, match="calls more than"):
        opened(h5(tmp_path / "twice.h5", made, {}))


def test_weights_that_do_not_fit_are_named(tmp_path):
    _, weights = twin()
    groups = named(weights, False, True)
    groups["base"] = groups["base"][:-1]
    with pytest.raises(BadInput, match="'base'"):
        opened(h5(tmp_path / "less.h5", outer("functional"), groups))
