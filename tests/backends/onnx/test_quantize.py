"""INT8 calibration of graphs whose batch is fixed."""

import numpy as np
import pytest

from engine.backends.onnx.quantize import _Reader


@pytest.mark.parametrize("images, batch, batches", [(20, 64, 1), (20, 8, 3), (64, 64, 1), (65, 64, 2)])
def test_every_batch_is_full_however_few_images_there_are(images, batch, batches):
    reader = _Reader(np.arange(images, dtype=np.float32).reshape(images, 1, 1, 1), batch)
    given = []
    while (found := reader.get_next()) is not None:
        given.append(found["input"])
    assert [len(part) for part in given] == [batch] * batches
    seen = np.concatenate(given).ravel()
    assert seen.tolist() == [float(i % images) for i in range(batch * batches)]


def test_without_a_fixed_batch_no_image_is_seen_twice():
    reader = _Reader(np.arange(50, dtype=np.float32).reshape(50, 1, 1, 1), None)
    given = []
    while (found := reader.get_next()) is not None:
        given.append(found["input"])
    assert np.concatenate(given).ravel().tolist() == list(range(50))
