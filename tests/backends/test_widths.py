"""How many channels of a layer stay: what the device's kernels take, where a layer is wide enough."""

import pytest

from engine.backends import backend_for
from engine.backends.widths import kept, unit
from engine.vocabulary import Preprocessing
from estimator.devices import all_devices, load_device


@pytest.mark.parametrize("multiple", [4, 8, 16])
@pytest.mark.parametrize("channels", [1, 2, 7, 8, 24, 31, 32, 64, 100, 128, 512])
def test_the_share_goes_and_no_layer_is_rounded_up_to_all_it_had(channels, multiple):
    for widest in (channels, 512):
        size = unit(channels, multiple, widest)
        assert size <= max(1, channels // 2) and (size == 1 or channels < 32 or size * 8 <= channels)
        for ratio in (0.05, 0.3, 0.5, 0.9, 1.0):
            count, exact = kept(channels, ratio, multiple, widest), max(1, round(channels * (1 - ratio)))
            assert 1 <= count <= channels and abs(count - exact) <= max(size / 2, size - exact)
            assert count < channels or exact == channels
            assert count % size == 0 or count == exact
    assert kept(channels, 0.0, multiple, 512) == channels


@pytest.mark.parametrize(
    ("count", "ratio", "wanted"),
    [(64, 0.5, 32), (64, 0.3, 44), (32, 0.07, 30), (30, 0.07, 28), (29, 0.0, 29), (6, 0.5, 3), (4, 0.9, 1)],
)
def test_channels_stay_in_fours_but_never_stick(count, ratio, wanted):
    assert kept(count, ratio, 4, widest=64) == wanted


@pytest.mark.parametrize(("multiple", "first", "second"), [(4, 44, 92), (8, 48, 88), (16, 48, 96)])
def test_a_cut_network_has_the_multiples_of_the_device(tmp_path, multiple, first, second):
    from torch import nn

    network = nn.Sequential(
        nn.Conv2d(3, 64, 3), nn.ReLU(), nn.Conv2d(64, 130, 3), nn.ReLU(), nn.Flatten(), nn.Linear(130 * 16, 5)
    ).eval()
    how = Preprocessing(height=8, width=8, color="rgb", layout="NCHW", mean=[0.5] * 3, std=[0.25] * 3)
    backend = backend_for("pytorch", how, tmp_path)
    left = backend.remove_channels(network, {"0": 0.3, "2": 0.3}, "l2", None, 0, multiple)
    assert (left[0].out_channels, left[2].out_channels) == (first, second)


def test_each_runtime_says_its_multiple_and_the_device_that_of_its_own():
    assert load_device("raspberry_pi_4").channel_multiple("tflite") == 8  # LiteRT
    assert load_device("raspberry_pi_4").channel_multiple("onnx") == 4  # ONNX Runtime
    assert load_device("jetson_nano").channel_multiple("onnx") == 8  # TensorRT
    for device in all_devices().values():
        assert device.sources["channel_multiple"] and device.channel_multiple("onnx") in (4, 8, 16)
