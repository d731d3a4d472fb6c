"""Keras: a framework of its own, on TensorFlow.

Keras tries to import pandas, SciPy and scikit-learn, only to take their tables and to be wrapped for them,
and OpenCV to draw boxes; TensorFlow tries JAX, to convert its functions. Nothing here uses any of them, and
they are half of the time that the import takes, so they are hidden from it.
"""

import os
import sys

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
_hidden = [name for name in ("cv2", "jax", "pandas", "scipy", "sklearn") if name not in sys.modules]
sys.modules.update(dict.fromkeys(_hidden))  # None: an import of it fails
try:
    import keras  # noqa: F401
finally:
    for _name in _hidden:
        del sys.modules[_name]
