"""PyTorch networks that take a picture as a row of numbers, or without a channel axis."""

import pytest
import torch
from onnxruntime import InferenceSession
from torch import nn

from engine import formats
from engine.errors import BadInput
from engine.formats.onnx.open import open_plain
from engine.formats.torch.rows import FRONTS, sides_of


class Matrix(nn.Module):
    """Takes grey pictures without a channel axis."""

    def __init__(self):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(28, 16), nn.Linear(16, 10)

    def forward(self, x):
        return self.fc2(torch.relu(self.fc1(x)).mean(1))


def mlp(inputs: int) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(inputs, 16), nn.ReLU(), nn.Linear(16, 10)).eval()


def traced(network: nn.Module, *shape: int) -> torch.jit.ScriptModule:
    return torch.jit.trace(network.eval(), torch.rand(2, *shape))


def openings(path, format, size=None):
    return formats.openings(path, format, None, size)


@pytest.mark.parametrize("inputs, shape", [(784, (1, 28, 28)), (3072, (3, 32, 32))])
@pytest.mark.parametrize("format", ["state_dict", "torch_module", "torchscript"])
def test_rows_get_a_reshape_in_front(tmp_path, look, inputs, shape, format):
    network, path = mlp(inputs), tmp_path / "mlp.pt"
    if format == "torchscript":
        torch.jit.save(traced(network, inputs), path)
    else:
        torch.save(network.state_dict() if format == "state_dict" else network, path)
    found = openings(path, format)
    channels, height, width = shape
    assert (found[0].channels, found[0].height, found[0].width) == shape
    x = torch.rand(3, *shape)
    expected = network(x.flatten(1)), network(x.permute(0, 2, 3, 1).flatten(1))
    given = [torch.from_numpy(opening.predict(x.numpy())) for opening in found]
    assert any(torch.allclose(scores, expected[0], atol=1e-5) for scores in given)
    if channels == 3:
        assert any(torch.allclose(scores, expected[1], atol=1e-5) for scores in given)
    model = look(path)
    assert model.input_shape == (height, width, channels) and "row of numbers" in " ".join(model.evidence)
    with torch.inference_mode():
        torch.testing.assert_close(pytorch_network(model)(x), expected[0])


def pytorch_network(model):
    from engine.formats import open_network

    return open_network(model)


def test_a_program_that_takes_matrices(tmp_path, look):
    torch.manual_seed(0)
    network, path = Matrix().eval(), tmp_path / "matrix.pt"
    torch.jit.save(traced(network, 28, 28), path)
    model = look(path)
    assert (model.architecture, model.input_shape) == ("as_matrix", (28, 28, 1))
    x = torch.rand(2, 1, 28, 28)
    session = InferenceSession(open_plain(model).SerializeToString())
    (scores,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    with torch.inference_mode():
        torch.testing.assert_close(torch.from_numpy(scores), network(x[:, 0]), rtol=1e-4, atol=1e-5)


def test_numbers_that_are_no_square_picture_are_refused(tmp_path):
    path = tmp_path / "mlp.pt"
    torch.save(mlp(785), path)
    with pytest.raises(BadInput, match="takes no square image"):
        openings(path, "torch_module")
    torch.jit.save(traced(mlp(785), 785), path)
    with pytest.raises(BadInput, match="takes no square image"):
        openings(path, "torchscript")


def test_names_of_fronts_and_sides():
    assert set(FRONTS) == {"as_row", "as_row_of_pixels", "as_matrix"}
    assert sides_of(3072) == [(3, 32)] and sides_of(784) == [(1, 28)] and sides_of(785) == []


def test_wide_pictures_are_tried_in_their_own_size(tmp_path):
    from engine.formats.sized import with_own_size

    torch.manual_seed(0)
    wide = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    path = tmp_path / "wide.pt"
    torch.save(wide.eval(), path)
    found = with_own_size(openings(path, "torch_module", 20), 20, 50)
    assert [(opening.height, opening.width) for opening in found] == [(20, 50), (20, 20)]
    x = torch.rand(2, 1, 20, 50)
    torch.testing.assert_close(torch.from_numpy(found[0].predict(x.numpy())), wide(x))
