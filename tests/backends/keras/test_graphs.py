"""Keras graphs: taken apart, folded, narrowed; every building block of image classifiers once."""

import keras
import numpy as np
import pytest
from keras import layers


def residual(x):
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(layers.ReLU()(y)))
    x = layers.BatchNormalization()(layers.Conv2D(16, 1, use_bias=False)(x))
    return layers.GlobalAveragePooling2D()(layers.ReLU()(layers.Add()([x, y])))


def dense_block(x):
    x = layers.Conv2D(16, 3, padding="same")(x)
    for _ in range(2):
        y = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.Concatenate()([x, layers.Conv2D(8, 3, padding="same", use_bias=False)(y)])
    return layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))


def separable(x):
    x = layers.SeparableConv2D(16, 3, padding="same", use_bias=False)(x)
    x = layers.SeparableConv2D(24, 3, padding="same", activation="relu", depth_multiplier=2)(
        layers.BatchNormalization()(x)
    )
    return layers.Flatten()(layers.MaxPooling2D(4)(x))


def depthwise(x):
    x = layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same", use_bias=False)(x))
    return layers.GlobalAveragePooling2D()(layers.Conv2D(24, 1, activation="swish")(x))


def squeeze_excite(x):
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(x)
    y = layers.Reshape((1, 1, 16))(layers.GlobalAveragePooling2D()(x))
    y = layers.Conv2D(16, 1, activation="sigmoid")(layers.Conv2D(8, 1, activation="relu")(y))
    return layers.GlobalAveragePooling2D()(layers.Conv2D(24, 3)(layers.Multiply()([x, y])))


BLOCKS = {block.__name__: block for block in (residual, dense_block, separable, depthwise, squeeze_excite)}


@pytest.fixture(scope="module", params=list(BLOCKS))
def block(request, backend_for, shaken):
    """(backend, Keras model, network) of one building block between an image and a softmax."""
    from engine.backends.keras.apart import graph_of

    keras.utils.set_random_seed(3)
    inputs = keras.Input((16, 16, 3))
    model = shaken(keras.Model(inputs, layers.Dense(10, activation="softmax")(BLOCKS[request.param](inputs))))
    return backend_for(16, 3), model, graph_of(model)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def test_the_graph_answers_like_the_model(block, images):
    backend, model, network = block
    wanted = np.asarray(model(images.astype(np.float32) / 255, training=False))
    assert np.allclose(softmax(backend.logits(network, images)), wanted, atol=1e-5)


def test_folding_changes_no_answer(block, images):
    backend, _, network = block
    folded = backend.folded(network)
    assert not any(node.kind == "BatchNormalization" for node in folded.graph.nodes)
    assert np.allclose(backend.logits(folded, images), backend.logits(network, images), atol=1e-3)


def test_the_file_answers_like_the_model(block, images, tmp_path):
    backend, model, network = block
    path = backend.export(network, None, None, tmp_path / "block")
    assert np.allclose(
        backend.predict(path, images),
        np.asarray(model(images.astype(np.float32) / 255, training=False)),
        atol=1e-4,
    )


def test_half_the_channels_go_and_it_still_runs(block, images, tmp_path):
    backend, _, network = block
    before = backend.facts(network)
    ratios = {layer.name: 0.5 for layer in before.layers}
    narrow = backend.remove_channels(network, ratios, "l2", None, 0)
    macs, parameters = backend.cost(narrow)
    assert macs < 0.6 * before.macs and parameters < before.parameters
    path = backend.export(narrow, None, None, tmp_path / "narrow")
    assert np.allclose(backend.predict(path, images), softmax(backend.logits(narrow, images)), atol=1e-4)


def test_channels_that_do_nothing_go_first_and_change_no_answer(block, images):
    """Sets a share of each layer's channels to zero in every way; removing just those must leave the answers
    as they are.
    """
    from engine.backends.keras.channels import Channels, without
    from engine.backends.keras.graph import Network

    backend, _, network = block
    folded = backend.folded(network)
    channels = Channels(folded, backend.live(folded).shapes)
    gone = {int(c) for bundle in channels.bundles() for c in bundle.classes[::3]}
    weights = dict(folded.weights)
    for node in folded.graph.nodes:
        if folded.weights.get(node.layer):
            read = channels.roots(channels.of[node.inputs[0].node][0])
            dead = np.isin(read, list(gone))
            if node.kind in ("Conv2D", "Dense") and dead.any():
                kernel = weights[node.layer][0].copy()
                kernel[..., dead, :] = 0
                weights[node.layer] = [kernel, *weights[node.layer][1:]]
    silenced = Network(folded.graph, weights)
    assert np.allclose(
        backend.logits(without(silenced, channels, gone), images), backend.logits(silenced, images), atol=1e-4
    )


def test_what_is_kept_comes_back(block, tmp_path, monkeypatch, images):
    backend, _, network = block
    narrow = backend.remove_channels(
        network, {layer.name: 0.5 for layer in backend.facts(network).layers}, "l2", None, 0
    )
    monkeypatch.setattr(backend.framework, "load", lambda model: network)
    backend.save(narrow, tmp_path, "kept")
    assert np.allclose(
        backend.logits(backend.restore(None, tmp_path, "kept"), images),
        backend.logits(narrow, images),
        atol=1e-6,
    )


def test_a_slim_network_has_fresh_weights_by_its_seed(block):
    backend, _, network = block
    first, same, other = (backend.slim(network, 0.5, seed) for seed in (1, 1, 2))
    name = backend.facts(network).layers[0].name
    assert backend.cost(first)[0] < backend.cost(network)[0]
    assert np.array_equal(backend.weights(first)[name], backend.weights(same)[name])
    assert not np.array_equal(backend.weights(first)[name], backend.weights(other)[name])


def test_nested_models_are_inlined(backend_for, images):
    from engine.backends.keras.apart import graph_of

    inner = keras.Sequential([keras.Input((16, 16, 3)), layers.Conv2D(8, 3), layers.GlobalAveragePooling2D()])
    model = keras.Sequential([keras.Input((16, 16, 3)), layers.RandomFlip(), inner, layers.Dense(10)])
    network, backend = graph_of(model), backend_for(16, 3)
    assert [node.kind for node in network.graph.nodes] == ["Conv2D", "GlobalAveragePooling2D", "Dense"]
    assert np.allclose(
        backend.logits(network, images),
        np.asarray(model(images.astype(np.float32) / 255, training=False)),
        atol=1e-5,
    )


def test_shared_and_grouped_layers_are_locked_with_the_reason(backend_for):
    from engine.backends.keras.apart import graph_of

    inputs = keras.Input((16, 16, 3))
    shared = layers.Conv2D(8, 3, padding="same", name="shared")
    x = layers.Conv2D(8, 3, padding="same", groups=4, name="grouped")(
        shared(layers.Conv2D(8, 1, name="first")(inputs))
    )
    model = keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(shared(x))))
    backend, network = backend_for(16, 3), graph_of(model)
    assert "used in several places" in backend.locked(network)["shared"]
    assert "shared" in backend.locked(network)["first"]
    assert backend.facts(network).unprunable.startswith("no layer's channels can go")


def test_weights_travel_output_channel_first(small):
    backend, network, _ = small
    shapes = {layer.name: layer.shape for layer in backend.facts(network).layers}
    assert list(shapes.values()) == [(16, 3, 3, 3), (32, 16, 3, 3), (64, 512), (10, 64)]
    back = backend.with_weights(network, backend.weights(network))
    assert all(
        np.array_equal(a, b) for n in shapes for a, b in zip(back.weights[n], network.weights[n], strict=True)
    )


def test_grams_and_means_are_those_of_the_layers(small):
    backend, network, images = small
    folded = backend.folded(network)
    name = backend.facts(network).layers[-1].name
    means = backend.weights(folded)[name] @ backend.input_means(folded, images)[name]
    assert np.allclose(
        means + backend.biases(folded)[name], backend.logits(folded, images).mean(0), atol=1e-4
    )
    first = backend.facts(network).layers[0].name
    gram = backend.input_grams(folded, images, [first])[first]
    rows = np.concatenate(list(backend.input_rows(folded, images, first)))
    assert np.allclose(rows.T @ rows / len(rows), gram, rtol=1e-3, atol=1e-3)
    # the squared outputs of a filter follow from the gram: w G wᵀ is their mean
    outputs = []
    backend._look(
        folded, images, lambda node, i, o: outputs.append(o[0].numpy()) if node.layer == first else None
    )
    bias = backend.biases(folded)[first]
    flat = backend.weights(folded)[first].reshape(16, -1)
    wanted = ((np.concatenate(outputs) - bias) ** 2).mean((0, 1, 2))
    assert np.allclose(np.einsum("od,de,oe->o", flat, gram, flat), wanted, rtol=1e-3)


@pytest.mark.parametrize("kind", ["static_int8", "dynamic_int8", "fp16", "int4"])
def test_grouped_convolutions_in_every_file(backend_for, images, tmp_path, kind):
    from engine.backends.grid import nearest_grid
    from engine.backends.keras.apart import graph_of
    from engine.backends.protocol import QuantSpec

    inputs = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, groups=4, activation="relu")(layers.Conv2D(8, 3, activation="relu")(inputs))
    backend, network = (
        backend_for(16, 3),
        graph_of(keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))),
    )
    grids = {name: nearest_grid(w, 4) for name, w in backend.weights(network).items()}
    spec = QuantSpec("weights", grids=grids) if kind == "int4" else QuantSpec(kind)
    found, wanted = (
        backend.predict(backend.export(network, spec, images, tmp_path / kind), images),
        backend.logits(network, images),
    )
    assert np.abs(found - wanted).mean() < (0.3 if kind == "int4" else 0.1) * np.abs(wanted).mean()
