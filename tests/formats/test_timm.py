"""timm's weights: recognised by their tensors, built where timm is installed, refused with the way out."""

import pytest
import torch

from engine.backends import QuantSpec, nearest_grid, open_backend
from engine.errors import BadInput
from engine.formats import open_network, openings
from engine.formats.torch import timm_trunks
from models.torchvision_shim import import_torchvision

import_torchvision()
timm = pytest.importorskip("timm", reason="timm is not installed: pip install -r requirements/timm.txt")


def saved(path, name: str, **how):
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, **how).eval()
    torch.save(network.state_dict(), path)
    return network


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("mobilenetv3_small_050", {"num_classes": 5}),
        ("lcnet_035", {"num_classes": 3, "in_chans": 1}),
        ("repghostnet_050", {"num_classes": 4}),
    ],
)
def test_weights_are_recognised_and_answer_as_in_timm(name, how, tmp_path, look):
    network = saved(tmp_path / "weights.pth", name, **how)
    model = look(tmp_path / "weights.pth")
    assert model.architecture.startswith("timm/") and len(model.classes) == how["num_classes"]
    x = torch.rand(2, how.get("in_chans", 3), 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(open_network(model)(x), network(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["lcnet_035", pytest.param("ghostnet_050", marks=pytest.mark.slow)])
def test_every_layer_can_be_written_in_4_bits(name, tmp_path, look):
    network = saved(tmp_path / "weights.pth", name, num_classes=3)
    model = look(tmp_path / "weights.pth")
    backend = open_backend(model, tmp_path / "cache", 1)
    opened = backend.load(model)
    folded = backend.folded(opened)
    grids = {layer: nearest_grid(weight, 4) for layer, weight in backend.weights(folded).items()}
    assert [layer.name for layer in backend.facts(opened).layers] == list(grids)
    path = backend.export(opened, QuantSpec("weights", grids=grids), None, tmp_path / "made")
    assert path.stat().st_size < sum(p.numel() for p in network.parameters())


def test_a_name_of_timm_is_taken_with_and_without_its_prefix(tmp_path, look):
    saved(tmp_path / "weights.pth", "lcnet_035", num_classes=3)
    for name in ("lcnet_035", "timm/lcnet_035"):
        assert look(tmp_path / "weights.pth", architecture=name).architecture == "timm/lcnet_035"
    with pytest.raises(BadInput, match="don't fit timm/lcnet_050"):
        look(tmp_path / "weights.pth", architecture="timm/lcnet_050")
    with pytest.raises(BadInput, match="timm has no classifier called 'os.system'"):
        look(tmp_path / "weights.pth", architecture="timm/os.system")


def test_without_timm_the_weights_are_named_and_the_way_out(tmp_path, monkeypatch):
    saved(tmp_path / "weights.pth", "lcnet_035", num_classes=3)
    monkeypatch.setattr(timm_trunks, "is_installed", lambda: False)
    with pytest.raises(BadInput, match=r"those of timm's lcnet_035: install timm .* or export"):
        openings(tmp_path / "weights.pth", "state_dict", None, None)
    with pytest.raises(BadInput, match="takes timm, which is not installed"):
        timm_trunks.build("timm/lcnet_035", {})


def test_other_weights_are_none_of_timm(tmp_path):
    layer = torch.nn.Conv2d(3, 8, 3).state_dict()
    assert timm_trunks.known({key: value.numpy() for key, value in layer.items()}) == []
    assert timm_trunks.full_name("resnet9000") is None
