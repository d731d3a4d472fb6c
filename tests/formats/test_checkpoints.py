"""Checkpoints one stray key away from a network: second sets, losses, masks, normalised weights, heads."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, spectral_norm

from engine.errors import BadInput
from engine.formats.torch import architectures, checkpoint
from engine.formats.torch import open as pytorch
from engine.formats.torch.architectures import CifarResNet
from models.torchvision_shim import import_torchvision

X = torch.rand(2, 3, 32, 32)


def openings(tmp_path, value, size=32, architecture=None):
    path = tmp_path / "model.pt"
    torch.save(value, path)
    return pytorch.openings(path, "state_dict", architecture, size)


def torchvision(name, **options):
    torch.manual_seed(0)
    return import_torchvision().models.get_model(name, weights=None, **options).eval()


def answers(opening, x=X):
    return torch.from_numpy(opening.predict(x.numpy()))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CifarResNet(3, 10, 20).eval()


class Wrapped(nn.Module):
    """A training module as Lightning has it."""

    def __init__(self, model, **more):
        super().__init__()
        self.model = model
        for name, module in more.items():
            setattr(self, name, module)


def test_a_loss_with_weights_is_left_out_and_said(tmp_path, network):
    module = Wrapped(network, criterion=nn.CrossEntropyLoss(weight=torch.ones(10)))
    saved = {"epoch": 4, "state_dict": module.state_dict(), "optimizer_states": [{"state": {}}], "loops": {}}
    opening, *_ = openings(tmp_path, saved)
    assert opening.architecture == "cifar_resnet20"
    assert any("criterion.weight" in sentence for sentence in opening.facts["evidence"])
    torch.testing.assert_close(answers(opening), network(X))


@pytest.mark.parametrize("kind", ["wrappers", "flat", "averaged", "shadow", "online"])
def test_of_two_sets_both_open_and_the_average_goes_first(tmp_path, network, kind):
    average = copy.deepcopy(network)
    with torch.no_grad():
        for value in average.parameters():
            value.mul_(0.9)
    own, ema = network.state_dict(), average.state_dict()
    saved = {
        "wrappers": {"epoch": 1, "model": own, "model_ema": ema},
        "flat": Wrapped(network, ema_model=Wrapped(average)).state_dict(),
        "averaged": {"state_dict": own, "state_dict_ema": {"module": ema, "updates": 7}},
        "shadow": {"net": own, "ema": {"decay": 0.99, "shadow": ema}},
        "online": {f"online_model.{k}": v for k, v in own.items()}
        | {f"ema_model.{k}": v for k, v in ema.items()}
        | {"initted": torch.tensor(True), "step": torch.tensor(7)},
    }[kind]
    first, second = openings(tmp_path, saved)
    assert first.architecture.startswith("cifar_resnet20,weights=")
    torch.testing.assert_close(answers(first), average(X))
    torch.testing.assert_close(answers(second), network(X))
    taken = first.architecture.partition("=")[2]
    assert any(f"{taken} was taken" in sentence for sentence in first.facts["evidence"])
    (named,) = openings(tmp_path, saved, architecture=second.architecture)
    torch.testing.assert_close(answers(named), network(X))
    with pytest.raises(BadInput, match="no set of weights called 'none'"):
        openings(tmp_path, saved, architecture="cifar_resnet20,weights=none")


def test_averaged_and_parallel_models_open(tmp_path, network):
    averaged = torch.optim.swa_utils.AveragedModel(nn.DataParallel(network))
    for saved in (averaged.state_dict(), {"swa": averaged.state_dict(), "epoch": 3}):
        opening, *_ = openings(tmp_path, saved)
        torch.testing.assert_close(answers(opening), network(X))


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_half_floats(tmp_path, network, kind):
    opening, *_ = openings(tmp_path, copy.deepcopy(network).to(kind).state_dict())
    torch.testing.assert_close(answers(opening), copy.deepcopy(network).to(kind).float()(X))


def chain():
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(784, 10)),
    ).eval()


def masked(layer):
    prune.l1_unstructured(layer, "weight", 0.5)
    prune.l1_unstructured(layer, "bias", 0.5)


PARTS = {
    "masks": masked,
    "weight_norm": torch.nn.utils.weight_norm,
    "parametrized": parametrizations.weight_norm,
    "spectral": spectral_norm,
    "spectral_parametrized": parametrizations.spectral_norm,
}


@pytest.mark.parametrize("kind", PARTS)
def test_weights_in_parts_are_put_together(tmp_path, kind):
    made, x = chain(), torch.rand(2, 1, 28, 28)
    for module in made:
        if isinstance(module, nn.Conv2d | nn.Linear):
            PARTS[kind](module)
    expected = made.eval()(x)
    path = tmp_path / "model.pt"
    torch.save(made.state_dict(), path)
    one = pytorch.read_sets(path, "state_dict")[0]
    assert one.notes and list(one.weights) == list(chain().state_dict())
    built = architectures.build("chain:28:p1s1m2,p1s1m2:max:relu:flat", one.weights)
    torch.testing.assert_close(built(x), expected, rtol=1e-4, atol=1e-5)


HEADS = {
    "mobilenet_v2": lambda m: setattr(m, "classifier", nn.Linear(1280, 5)),
    "mobilenet_v3_small": lambda m: m.classifier.__setitem__(
        3, nn.Sequential(nn.Dropout(0.2), nn.Linear(1024, 5))
    ),
    "resnet18": lambda m: setattr(
        m, "fc", nn.Sequential(nn.Linear(512, 128), nn.ReLU(), nn.Dropout(0.3), nn.Linear(128, 5))
    ),
    "shufflenet_v2_x0_5": lambda m: setattr(
        m,
        "fc",
        nn.Sequential(
            nn.BatchNorm1d(1024), nn.Linear(1024, 64), nn.ReLU(), nn.BatchNorm1d(64), nn.Linear(64, 5)
        ),
    ),
    "squeezenet1_1": lambda m: setattr(
        m, "classifier", nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 5))
    ),
    "densenet121": lambda m: setattr(
        m, "classifier", nn.Sequential(nn.Dropout(), nn.Linear(1024, 5), nn.LogSoftmax(1))
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_known_trunk_with_another_head(tmp_path, name):
    made = torchvision(name)
    HEADS[name](made)
    made.eval()
    opening, *_ = openings(tmp_path, made.state_dict(), size=None)
    assert opening.architecture == f"torchvision/{name}" and opening.classes == 5
    x = torch.rand(2, 3, 64, 64)
    torch.testing.assert_close(answers(opening, x).argmax(1), made(x).argmax(1))
    if name != "densenet121":
        torch.testing.assert_close(answers(opening, x), made(x))


class Transfer(nn.Module):
    """A backbone under a name of its own, its head outside it."""

    def __init__(self):
        super().__init__()
        self.backbone = torchvision("resnet18")
        self.backbone.fc = nn.Identity()
        self.head = nn.Sequential(nn.Linear(512, 32), nn.Tanh(), nn.Linear(32, 4))

    def forward(self, x):
        return self.head(self.backbone(x))


def test_a_trunk_in_another_module_and_its_activation(tmp_path):
    torch.manual_seed(0)
    made = Transfer().eval()
    opening, *_ = openings(tmp_path, made.state_dict(), size=None)
    named = {other.architecture: other for other in opening.variations()}
    torch.testing.assert_close(answers(named["torchvision/resnet18,head=tanh"]), made(X))


def test_a_trunk_taken_apart_into_a_sequential(tmp_path):
    made = torchvision("resnet18")
    body = nn.Sequential(*list(made.children())[:-1], nn.Flatten(), nn.Linear(512, 3)).eval()
    opening, *_ = openings(tmp_path, body.state_dict(), size=None)
    torch.testing.assert_close(answers(opening), body(X))


@pytest.mark.slow
@pytest.mark.parametrize("name, kept", [("googlenet", True), ("googlenet", False), ("inception_v3", True)])
def test_with_and_without_auxiliary_heads(tmp_path, name, kept):
    made = torchvision(name, num_classes=6, init_weights=False, aux_logits=kept)
    opening, *_ = openings(tmp_path, made.state_dict(), size=None)
    x = torch.rand(1, 3, 96, 96)
    torch.testing.assert_close(answers(opening, x), made(x))


@pytest.mark.parametrize("stride, pool", [(1, True), (2, True), (2, False), (1, False)])
def test_every_stem_that_the_weights_leave_open_is_an_opening(tmp_path, stride, pool):
    made = torchvision("resnet18", num_classes=6)
    made.conv1 = nn.Conv2d(3, 64, 3, stride, 1, bias=False)
    if not pool:
        made.maxpool = nn.Identity()
    made.eval()
    found = openings(tmp_path, made.state_dict())
    assert any(torch.allclose(answers(opening), made(X), atol=1e-4) for opening in found)


def test_names_without_their_family_and_wrong_ones(tmp_path, network):
    made = torchvision("squeezenet1_1", num_classes=4)
    opening, *_ = openings(tmp_path, made.state_dict(), architecture="squeezenet1_1,stride=1")
    assert opening.architecture == "torchvision/squeezenet1_1,stride=1" and opening.channels == 3
    for name, words in {
        "squeezenet1_1,depth=3": "no option 'depth=3'",
        "torchvision/resnet18": "don't fit torchvision/resnet18",
        "resnet9000": "no architecture called 'resnet9000'",
    }.items():
        with pytest.raises(BadInput, match=words):
            openings(tmp_path, made.state_dict(), architecture=name)


HOSTILE = {
    "a mask of another shape": {"0.weight_orig": np.ones((4, 3), np.float32), "0.weight_mask": np.ones(3)},
    "a length of another shape": {"0.weight_g": np.ones((5, 1)), "0.weight_v": np.ones((4, 3))},
    "vectors of another width": {
        "0.weight_orig": np.ones((4, 3)),
        "0.weight_u": np.ones(9),
        "0.weight_v": np.ones(3),
    },
    "a scalar as weight": {"0.weight_orig": np.ones(()), "0.weight_u": np.ones(1), "0.weight_v": np.ones(1)},
    "an unknown rule": {"0.parametrizations.weight.original": np.ones((4, 3))},
    "no finite product": {"0.weight_g": np.full((4, 1), np.inf), "0.weight_v": np.ones((4, 3))},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_parts_that_fit_nothing_are_refused(kind):
    with pytest.raises(BadInput):
        checkpoint.split(HOSTILE[kind])


BAD = {
    "a stem of no channels": {"conv1.weight": torch.zeros(64, 0, 7, 7)},
    "a stem of whole numbers": {"conv1.weight": torch.zeros(64, 3, 7, 7, dtype=torch.int8)},
    "a stem of five dimensions": {"conv1.weight": torch.zeros(64, 3, 7, 7, 1)},
    "a head for no class": {"fc.weight": torch.zeros(0, 512), "fc.bias": torch.zeros(0)},
    "a head of one number": {"fc.weight": torch.zeros(()), "fc.bias": torch.zeros(())},
    "a norm that is too short": {"bn1.running_mean": torch.zeros(3)},
    "a mask of another shape": {"fc.weight_orig": torch.zeros(4, 512), "fc.weight_mask": torch.zeros(2, 2)},
    "a length of another shape": {"fc.weight_g": torch.zeros(7, 1), "fc.weight_v": torch.zeros(4, 512)},
}


@pytest.mark.parametrize("what", BAD)
def test_a_trunk_with_a_bad_end_is_refused_in_one_sentence(what, tmp_path):
    """In an average, which goes before what it was made of."""
    state = torchvision("resnet18", num_classes=4).state_dict()
    bad = {key: value for key, value in state.items() if f"{key}_orig" not in BAD[what]} | BAD[what]
    with pytest.raises(BadInput) as told:
        openings(tmp_path, {"ema": {"module": bad}})
    assert str(told.value).endswith(".") and "\n" not in str(told.value)
