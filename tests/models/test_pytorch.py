"""The PyTorch architectures and the shipped weights."""

import os

import pytest
import torch
from safetensors.torch import load_file
from torch.fx.experimental.optimization import fuse

from engine import datasets
from models.catalog import CATALOG
from models.pytorch import ARCHITECTURES, build
from models.recipes import RECIPES, Augmentation, Recipe
from models.train import Run, accuracy_of, augmented, count_macs

PYTORCH = [model for model in CATALOG.values() if model.framework == "pytorch"]


def shipped(model):
    network = build(model.architecture, model.input_shape[2], len(model.classes))
    network.load_state_dict(load_file(model.weights_path))
    return network.eval()


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architecture_traces_and_folds(name):
    network = build(name, 1, 7).eval()
    images = torch.randn(2, 1, 28, 28)
    folded = fuse(network)
    assert not any(isinstance(layer, torch.nn.BatchNorm2d) for layer in folded.modules())
    assert torch.allclose(network(images), folded(images), atol=1e-4) and folded(images).shape == (2, 7)


@pytest.mark.parametrize("model", PYTORCH, ids=lambda model: model.id)
def test_the_catalog_counts_rightly(model):
    network = shipped(model)
    assert sum(p.numel() for p in network.parameters()) == model.parameters
    assert count_macs(network, model.input_shape) == model.macs


def test_macs_by_hand():
    macs = 9 * 32 * 28**2 + 9 * 32 * 64 * 14**2 + 9 * 64 * 96 * 7**2 + 96 * 9 * 192 + 192 * 10
    assert CATALOG["digits/pytorch/small"].macs == macs


@pytest.mark.slow
@pytest.mark.parametrize("model", PYTORCH, ids=lambda model: model.id)
def test_the_catalog_tells_the_true_accuracy(model, tmp_path):
    if model.dataset != "digits" and not os.environ.get("EDGEWISE_DATA"):
        pytest.skip("the real sets are needed: EDGEWISE_DATA is not set")
    datasets.prepare(model.dataset, tmp_path, image_shape=model.input_shape)
    test = datasets.load(model.dataset, tmp_path, ("test",), image_shape=model.input_shape)["test"]
    if len(test.labels) != model.test_images:
        pytest.skip(
            f"the catalog's figure is for {model.test_images} test images, here are {len(test.labels)}"
        )
    # One image may flip where another processor rounds otherwise.
    assert accuracy_of(shipped(model), test, model.preprocessing) == pytest.approx(
        model.test_accuracy, abs=1.5 / model.test_images
    )


def test_augmentation_shifts_by_whole_pixels_and_mirrors():
    images = torch.rand(1, 1, 8, 8).repeat(200, 1, 1, 1)
    changed = augmented(images, Augmentation(shift_px=1, mirror=True), torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(images[:1], (1, 1, 1, 1), mode="replicate")
    crops = [padded[..., y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
    crops += [crop.flip(-1) for crop in crops]
    distance = torch.stack([(changed - crop).abs().amax((1, 2, 3)) for crop in crops])
    assert distance.amin(0).max() < 1e-5
    assert len(set(distance.argmin(0).tolist())) == 18


def small_run(parts, seed=3):
    recipe = Recipe("compact_cnn_8", epochs=2, batch=32)
    return Run(recipe, parts, CATALOG["digits/pytorch/small"].preprocessing, 10, seed)


def test_a_resumed_training_equals_an_unbroken_one(tmp_path):
    datasets.prepare("digits", tmp_path)
    parts = datasets.load("digits", tmp_path, ("train", "validation"), limit=128)
    whole, broken, resumed = small_run(parts), small_run(parts), small_run(parts, seed=4)
    whole.train_epoch()
    whole.train_epoch()
    broken.train_epoch()
    broken.save(tmp_path / "checkpoint.pt")
    resumed.resume(tmp_path / "checkpoint.pt")
    resumed.train_epoch()
    assert resumed.epoch == 2
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name


def test_every_recipe_has_an_architecture():
    for recipe in RECIPES.values():
        side = recipe.image_px or (28 if recipe.architecture.startswith("compact") else 32)
        assert build(recipe.architecture, 3, 10).eval()(torch.zeros(2, 3, side, side)).shape == (
            2,
            10,
        ), recipe.architecture
