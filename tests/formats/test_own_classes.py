"""Networks whose wiring the file does not tell: every guess is tried on pictures, and a poor one stops."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from engine import ask, datasets
from engine.errors import BadInput
from engine.formats import behind_wall, detect, narrow


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch):
    """What is tried may not hang on the speed of this machine."""
    for module in (behind_wall, narrow, detect):
        monkeypatch.setattr(module, "SECONDS", 200.0)


def conv(inputs: int, outputs: int, *more: nn.Module) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(), *more
    )


class Residual(nn.Module):
    """Shortcuts round pairs of convolutions, as in many tutorials (ResNet-9)."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = conv(1, 8), conv(8, 16, nn.MaxPool2d(2))
        self.res1 = nn.Sequential(conv(16, 16), conv(16, 16))
        self.conv3 = conv(16, 24, nn.MaxPool2d(2))
        self.res2 = nn.Sequential(conv(24, 24), conv(24, 24))
        self.classifier = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, 10))

    def forward(self, x):
        x = self.conv2(self.conv1(x))
        x = self.res1(x) + x
        x = self.conv3(x)
        return self.classifier(self.res2(x) + x)


class Plain(nn.Module):
    """Registers one pooling and one activation and uses them many times."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 8, 5), nn.Conv2d(8, 16, 5)
        self.pool, self.act = nn.MaxPool2d(2), nn.Tanh()
        self.fc1, self.fc2 = nn.Linear(256, 32), nn.Linear(32, 10)

    def forward(self, x):
        x = self.pool(self.act(self.conv1(x)))
        x = self.pool(self.act(self.conv2(x)))
        return self.fc2(self.act(self.fc1(torch.flatten(x, 1))))


class Flipped(Plain):
    """A network whose forward no guess can know."""

    def forward(self, x):
        x = self.pool(self.act(self.conv1(x))).flip(1)
        x = self.pool(self.act(self.conv2(x))).flip(1, 2)
        return self.fc2(self.act(self.fc1(torch.flatten(x, 1))).flip(1))


def trained(made: nn.Module, home, epochs: int, rate: float = 3e-3) -> tuple[nn.Module, float]:
    """Returns the network trained on the digits, and its accuracy on their validation part."""
    torch.manual_seed(0)
    for module in made.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    parts = datasets.load("digits", home, parts=("train", "validation"))
    x, v = (
        torch.from_numpy(parts[name].images.astype(np.float32) / 255).permute(0, 3, 1, 2)
        for name in ("train", "validation")
    )
    y = torch.from_numpy(parts["train"].labels.astype(np.int64))
    optimizer = torch.optim.AdamW(made.parameters(), rate)
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(made(x[batch]), y[batch]).backward()
            optimizer.step()
    with torch.inference_mode():
        right = made.eval()(v).argmax(1).numpy() == parts["validation"].labels
    return made, float(right.mean())


@pytest.mark.slow
@pytest.mark.parametrize("kind, whole", [(Residual, False), (Plain, True), (Plain, False)])
def test_what_the_file_leaves_open_is_found_on_pictures(tmp_path, look, home, kind, whole):
    made, accuracy = trained(kind(), home, 4)
    path = tmp_path / "own.pt"
    torch.save(made if whole else made.state_dict(), path)
    found = look(path, dataset="digits")
    assert found.reach == "all" and found.architecture.startswith("chain:28:")
    assert (":skip2a" in found.architecture) == (kind is Residual)
    assert any("leaves the network open" in sentence for sentence in found.evidence)
    parts = datasets.load("digits", home, parts=("validation",))
    from engine.device.preprocessing import preprocess
    from engine.formats import open_network

    x = preprocess(parts["validation"].images, found.preprocessing.model_dump())
    with torch.inference_mode():
        given = open_network(found)(torch.from_numpy(x)).argmax(1).numpy()
    assert abs((given == parts["validation"].labels).mean() - accuracy) <= 1.01 / len(given)


@pytest.mark.slow
def test_a_guess_that_is_no_good_stops_with_the_way_out_first(tmp_path, look, home):
    made, accuracy = trained(Flipped(), home, 4)
    assert accuracy > 0.8
    path = tmp_path / "own.pt"
    torch.save(made, path)
    found = look(path, dataset="digits")
    assert (
        found.reach == "inspect"
        and "torch.onnx.export(model.eval(), torch.rand(1, 1, 28, 28)" in (found.warnings[0])
    )
    with pytest.raises(BadInput, match=r"can be inspected and estimated only.*torch\.onnx\.export"):
        ask.build(found, dataset="digits", device="raspberry_pi_4")
    named = look(path, dataset="digits", architecture=found.architecture)
    assert named.reach == "all"
