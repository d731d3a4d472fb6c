"""How much goes through memory at once: by the size of the images, the weights and the moments."""

import numpy as np
import pytest

from engine import memory
from engine.backends import backend_for
from engine.backends.images import TRAINED_SHARE, images_at_once
from engine.backends.protocol import Training
from engine.datasets import Part
from engine.errors import BadInput
from engine.formats.inspect import inspect_model
from engine.techniques.budget import plan_steps
from engine.techniques.shared.reconstruct import GRAM_BYTES
from engine.vocabulary import Preprocessing


@pytest.mark.parametrize(
    ("side", "share", "expected"),
    [(28, 1.0, 256), (32, TRAINED_SHARE, 128), (64, 1.0, 64), (224, 1.0, 8), (512, 1.0, 8)],
)
def test_larger_images_go_through_in_smaller_batches(side, share, expected):
    assert images_at_once(side, side, share) == expected


def test_a_training_step_keeps_to_that():
    assert plan_steps(0.001, 0.0001, 60, 10_000)[1] == 128
    steps, batch = plan_steps(0.001, 0.0001, 60, 10_000, most=32)
    assert batch == 32 and steps > 150


def test_large_images_need_more_memory_and_too_little_is_a_sentence(monkeypatch):
    small = inspect_model("digits/pytorch/small")
    large = small.model_copy(update={"input_shape": (512, 512, 1)})
    assert memory.needed_bytes(large) > memory.needed_bytes(small) + 4_000_000_000
    monkeypatch.setattr(memory, "free_bytes", lambda: memory.needed_bytes(small))
    memory.check(small)
    with pytest.raises(BadInput, match="needs up to .* MB of memory"):
        memory.check(large)


def test_artifacts_that_do_not_fit_together_are_opened_in_lots_with_the_baseline():
    million = {"baseline": 100, "a": 100, "b": 100, "slim": 1, "c": 100, "huge": 900, "d": 1}
    parameters = {name: count * 1_000_000 for name, count in million.items()}
    for room in (1_000_000_000, 1_600_000_000, 9_000_000_000):
        found = memory.lots(parameters, room)
        assert [name for lot in found for name in lot[1:]] == list(parameters)[1:]
        for lot in found:
            assert lot[0] == "baseline" and len(lot) > 1
            loaded = memory.RUNTIME_BYTES + memory.LOADED_BYTES * sum(parameters[name] for name in lot)
            assert loaded <= room or len(lot) == 2
    assert len(found) == 1
    assert memory.lots({"baseline": 5}, 0) == [["baseline"]]


def test_moments_are_held_for_as_many_layers_as_fit():
    sizes = {"a": 100, "b": 200, "wide": 3_000, "c": 300, "widest": 4_096, "d": 10}
    moments = {name: 8 * size**2 for name, size in sizes.items()}
    groups = memory.together(moments, GRAM_BYTES)
    assert [name for group in groups for name in group] == list(sizes)
    for group in groups:
        assert len(group) == 1 or sum(moments[name] for name in group) <= GRAM_BYTES
    assert len(groups) < len(sizes)


def test_a_trained_network_keeps_no_gradients(tmp_path):
    import torch

    # rows of light that tell the class: training that finds nothing better keeps the first weights
    labels = np.arange(60) % 5
    pictures = np.random.default_rng(0).integers(0, 60, (60, 8, 8, 1), dtype=np.uint8)
    pictures[np.arange(60), labels] += 190
    data = Part(pictures, labels)
    torch.manual_seed(0)
    network = (
        torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 5))
        .eval()
        .requires_grad_(False)
    )
    backend = backend_for(
        "pytorch",
        Preprocessing(height=8, width=8, color="grey", layout="NCHW", mean=[0.0], std=[1.0]),
        tmp_path,
    )
    trained = backend.train(
        network, data, data, Training(steps=30, batch=16, learning_rate=1e-2, seed=0), lambda done: None
    ).network
    assert not torch.equal(trained[0].weight, network[0].weight)
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in trained.parameters())


def test_freed_memory_goes_back():
    import psutil

    own = psutil.Process()
    held = [np.ones(50_000) for _ in range(500)]  # below the size that the C library maps by itself
    full = own.memory_info().rss
    del held
    memory.release()
    assert own.memory_info().rss < full - 100_000_000
