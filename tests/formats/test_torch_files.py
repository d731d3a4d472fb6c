"""torch files read without torch, architectures found by keys and shapes, modules made again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from engine import formats
from engine.errors import BadInput
from engine.formats import inspect
from engine.formats.inspect import models
from engine.formats.torch import architectures
from engine.formats.torch import check as torchfile
from engine.formats.torch import modules as torch_modules
from engine.formats.torch import open as pytorch
from engine.formats.torch import script as torch_script
from engine.formats.torch.architectures import CifarResNet
from engine.vocabulary import ModelFile
from models.torchvision_shim import import_torchvision


class Example(nn.Module):
    """The MNIST example's network: pooling and activations are functions, so the file does not tell them."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 16, 3)
        self.fc1, self.fc2 = nn.Linear(16 * 12 * 12, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = torch.relu(self.conv2(torch.relu(self.conv1(x))))
        return self.fc2(torch.relu(self.fc1(torch.flatten(torch.max_pool2d(x, 2), 1))))


def file(tmp_path, value, **options):
    path = tmp_path / "model.pt"
    torch.save(value, path, **options)
    return path


@pytest.mark.parametrize("legacy", [False, True])
def test_every_kind_of_number_is_read_as_torch_reads_it(tmp_path, legacy):
    kinds = (
        torch.float32,
        torch.float64,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.uint8,
        torch.bool,
    )
    state = {str(kind): (torch.rand(3, 4) * 9).to(kind) for kind in kinds}
    state |= {
        "turned": torch.rand(4, 5).t(),
        "part": torch.rand(10)[3:7],
        "scalar": torch.tensor(3.0),
        "none": torch.zeros(0, 3),
    }
    read = torchfile.read(file(tmp_path, state, _use_new_zipfile_serialization=not legacy)).value
    for name, value in state.items():
        np.testing.assert_array_equal(
            read[name].array(), value.float().numpy() if value.is_floating_point() else value.numpy()
        )


def test_wrapped_prefixed_and_counted_checkpoints(tmp_path):
    state = {f"module.{k}": v for k, v in CifarResNet(3, 10, 20).state_dict().items()}
    path = file(
        tmp_path,
        {
            "epoch": 3,
            "state_dict": state,
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
            "best": np.float64(0.9),
        },
    )
    weights = pytorch.read_weights(path, "state_dict")
    assert [c.architecture for c in architectures.candidates(weights, 32)] == ["cifar_resnet20"]


@pytest.mark.parametrize("depth", [20, 56])
def test_cifar_resnet_round_trip(tmp_path, depth):
    network = CifarResNet(3, 7, depth).eval()
    weights = pytorch.read_weights(file(tmp_path, network.state_dict()), "state_dict")
    found = architectures.candidates(weights, None)[0]
    assert (found.architecture, found.classes, found.channels) == (f"cifar_resnet{depth}", 7, 3)
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(architectures.build(found.architecture, weights)(x), network(x))


@pytest.mark.parametrize(
    "name, classes, channels",
    [("resnet18", 10, 3), ("mobilenet_v2", 5, 1), ("squeezenet1_1", 4, 3), ("mnasnet1_0", 3, 3)],
)
def test_torchvision_by_keys(tmp_path, name, classes, channels):
    network = import_torchvision().models.get_model(name, weights=None, num_classes=classes)
    if channels == 1:
        network.features[0][0] = nn.Conv2d(1, 32, 3, 2, 1, bias=False)
    weights = pytorch.read_weights(file(tmp_path, network.eval().state_dict()), "state_dict")
    found = architectures.candidates(weights, None)
    assert [(c.architecture, c.classes, c.channels) for c in found] == [
        (f"torchvision/{name}", classes, channels)
    ]
    x = torch.rand(2, channels, 96, 96)
    torch.testing.assert_close(architectures.build(found[0].architecture, weights)(x), network(x))


def test_resnet_with_the_stem_of_small_images(tmp_path):
    network = import_torchvision().models.resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    weights = pytorch.read_weights(file(tmp_path, network.eval().state_dict()), "state_dict")
    found = architectures.candidates(weights, None)[0]
    assert found.size == 32
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(architectures.build(found.architecture, weights)(x), network(x))


def test_torchvision_under_other_names_and_with_another_head(tmp_path):
    network = import_torchvision().models.resnet18(num_classes=7).eval()
    x = torch.rand(2, 3, 64, 64)
    copied = {
        k.replace("downsample", "shortcut").replace("fc.", "linear."): v
        for k, v in network.state_dict().items()
    }
    new_head = {k.replace("fc.", "fc.1."): v for k, v in network.state_dict().items()}
    for state in (copied, new_head):
        weights = pytorch.read_weights(file(tmp_path, state), "state_dict")
        found = architectures.candidates(weights, None)[0]
        assert (found.architecture, found.classes) == ("torchvision/resnet18", 7)
        torch.testing.assert_close(architectures.build(found.architecture, weights)(x), network(x))


def test_cifar_resnet_with_projected_shortcuts(tmp_path):
    network = CifarResNet(3, 10, 20, projected=True).eval()
    weights = pytorch.read_weights(file(tmp_path, network.state_dict()), "state_dict")
    assert [c.architecture for c in architectures.candidates(weights, None)] == ["cifar_resnet20_b"]


def test_vgg_of_small_images_is_the_first_candidate(tmp_path):
    layers, channels = [], 3
    for width in (16, 16, 0, 32, 32, 0, 48, 48, 48, 0, 64, 64, 64, 0, 64, 64, 64, 0):
        layers += (
            [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            if width
            else [nn.MaxPool2d(2)]
        )
        channels = width or channels
    network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 10)).eval()
    weights = pytorch.read_weights(file(tmp_path, network.state_dict()), "state_dict")
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(
        architectures.build(architectures.candidates(weights, 32)[0].architecture, weights)(x), network(x)
    )


def test_the_names_to_choose_from_are_those_that_can_be_built():
    names = inspect.architectures()
    assert {name for name in architectures.KNOWN if name.startswith("cifar")} <= set(names)
    assert {name for name in names if "/" not in name} <= set(architectures.KNOWN)
    assert "torchvision/mobilenet_v2" in names and len(names) > 85


def test_a_chain_is_among_the_candidates(tmp_path):
    network = Example().eval()
    weights = pytorch.read_weights(file(tmp_path, network.state_dict()), "state_dict")
    found = [c.architecture for c in architectures.candidates(weights, 28)]
    assert "chain:28:p0s1m1,p0s1m2:max:relu:flat" in found[:3]
    x = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(
        architectures.build("chain:28:p0s1m1,p0s1m2:max:relu:flat", weights)(x), network(x)
    )


def test_safetensors_order_does_not_matter(tmp_path):
    from safetensors.torch import save_file

    network = CifarResNet(1, 10, 20).eval()
    save_file({k: v for k, v in network.state_dict().items() if "tracked" not in k}, tmp_path / "a")
    weights = pytorch.read_weights(tmp_path / "a", "safetensors")
    assert architectures.candidates(weights, None)[0].architecture == "cifar_resnet20"


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x1_0", "densenet121", "efficientnet_b0"]
)
def test_pickled_torchvision_modules_give_the_same_scores(tmp_path, name):
    network = import_torchvision().models.get_model(name, weights=None, num_classes=4).eval()
    path = file(tmp_path, network)
    torch_modules.check(path)
    again = torch_modules.rebuild(torch_modules.find(torchfile.read(path).value))
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(again(x), network(x))


@pytest.mark.parametrize("around", [nn.DataParallel, torch.optim.swa_utils.AveragedModel])
def test_a_module_in_one_that_only_stands_around_it_is_opened(tmp_path, look, around):
    made = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    torch.save({"model": around(made), "epoch": 3}, tmp_path / "around.pt")
    found = look(tmp_path / "around.pt")
    x = torch.rand(2, 1, *found.input_shape[:2])
    torch.testing.assert_close(formats.open_network(found)(x), made(x).detach())


def test_a_users_class_runs_in_the_order_of_its_layers_or_by_its_keys(tmp_path, look):
    path = file(tmp_path, Example())
    model = look(path)
    assert model.format == "torch_module" and model.architecture.startswith("chain:28:")
    assert any("is assumed" in warning and "name the architecture" in warning for warning in model.warnings)


def test_a_file_that_changed_is_not_opened(tmp_path):
    model = next(m for m in models() if m.name == "digits/pytorch/small")
    path = tmp_path / "a.safetensors"
    path.write_bytes(Path(model.path).read_bytes())
    changed = ModelFile(**{**model.model_dump(), "path": str(path)})
    assert formats.open_network(changed)(torch.zeros(1, 1, 28, 28)).shape == (1, 10)
    path.write_bytes(path.read_bytes()[:-4] + b"abcd")
    with pytest.raises(BadInput, match="changed"):
        formats.open_network(changed)


@pytest.mark.parametrize(
    "key, says",
    [
        ("roi_heads.box.weight", "detector"),
        ("lstm.weight_ih_l0", "recurrent"),
        ("model.embed_tokens.weight", "language"),
        ("decoder.conv.weight", "segmentation"),
    ],
)
def test_other_networks_are_named(tmp_path, key, says):
    path = file(tmp_path, {key: torch.rand(8, 4, 3, 3), "z.bias": torch.rand(3)})
    with pytest.raises(BadInput, match=says):
        pytorch.openings(path, "state_dict", None, None)


def test_names_in_a_refusal_keep_to_one_line(tmp_path, look):
    with pytest.raises(BadInput) as caught:
        look(file(tmp_path, {"a\n\x1b[31m<b>.weight": torch.rand(8, 4, 3, 3), "z.w": torch.rand(3)}))
    assert str(caught.value).isprintable()


def test_weights_that_are_not_finite_are_refused(tmp_path):
    path = file(tmp_path, {"conv.weight": torch.full((4, 1, 3, 3), float("nan"))})
    with pytest.raises(BadInput, match="not finite"):
        pytorch.read_weights(path, "state_dict")


def test_torchscript_is_matched_by_its_weights(tmp_path, look):
    torch.manual_seed(0)
    path = tmp_path / "a.pt"
    torch.jit.save(torch.jit.trace(CifarResNet(3, 10, 20).eval(), torch.rand(1, 3, 32, 32)), path)
    model = look(path)
    assert (model.format, model.architecture, model.reach, model.input_shape[2]) == (
        "torchscript",
        "cifar_resnet20",
        "all",
        3,
    )


def test_an_architecture_chosen_by_hand_must_fit(tmp_path, look):
    path = file(tmp_path, Example().state_dict())
    chosen = look(path, architecture="chain:28:p0s1m1,p0s1m2:avg:tanh:flat")
    assert chosen.architecture == "chain:28:p0s1m1,p0s1m2:avg:tanh:flat"
    for wrong in ("cifar_resnet20", "torchvision/resnet18", "nothing", "chain:9"):
        with pytest.raises(BadInput):
            look(path, architecture=wrong)


def test_candidates_are_plain_data():
    assert dataclasses.asdict(architectures.Candidate("a", 28, 1, 10)) == {
        "architecture": "a",
        "size": 28,
        "channels": 1,
        "classes": 10,
    }


def test_names_of_folders_in_a_program_are_no_operators(tmp_path):
    """A class of torchvision.ops stands in the program with its path, in which "ops" is a folder."""
    network = import_torchvision().ops.misc.Conv2dNormActivation(1, 2, 3).eval()
    torch.jit.save(torch.jit.trace(network, torch.rand(1, 1, 8, 8)), tmp_path / "a.pt")
    torch_script.check(tmp_path / "a.pt")
    torch_script.load(tmp_path / "a.pt")


class ReadsAFile(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.from_file("/etc/passwd", False, 1, dtype=torch.float32)


def test_what_a_program_became_is_checked_whatever_its_text_is(tmp_path):
    """Whatever spelling gets past the patterns over the text: the graph names the operator itself."""
    torch.jit.save(torch.jit.script(ReadsAFile()), tmp_path / "a.pt")
    with pytest.raises(BadInput, match="from_file"):
        torch_script.load(tmp_path / "a.pt")


def test_a_vision_transformer_is_no_language_model(tmp_path):
    state = {
        "vit.patch_embeddings.projection.weight": torch.rand(8, 3, 4, 4),
        "self_attn.q_proj.weight": torch.rand(8, 8),
        "vit.cls_token": torch.rand(1, 1, 8),
    }
    with pytest.raises(BadInput, match=r"fit no network that is known here.*--architecture NAME"):
        pytorch.openings(file(tmp_path, state), "state_dict", None, None)
