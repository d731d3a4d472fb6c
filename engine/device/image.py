"""One picture, from a file's bytes or an array, to the size and colours that a model wants; one way for the
engine and for the device. Pillow is imported when there is a picture: who only plans with a data set, as the
web
process does, needs none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L")
MOST_PIXELS = 50000000


class NoPicture(Exception):
    """These bytes are not used; the message says why, to stand behind the file's name."""


def decode(content: bytes, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Decodes a file, turns it upright by its EXIF note, and stretches it to `image_shape` (height, width,
    channels).

    Returns uint8 of that shape; 1 channel is grey, 3 are RGB. Raises NoPicture for another format, a broken
    file or more than MOST_PIXELS pixels.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NoPicture("has more than %d million pixels" % (MOST_PIXELS // 10**6))
            # A JPEG may be decoded at a fraction of its size; twice the wanted size keeps the resize smooth.
            image.draft(None, (2 * max(image_shape[:2]),) * 2)
            return _fitted(ImageOps.exif_transpose(image), image_shape)
    except NoPicture:
        raise
    except UnidentifiedImageError:
        raise NoPicture("is none of " + ", ".join(FORMATS)) from None
    # A decoder fed with broken bytes may raise nearly anything, and each means the same: this picture is
    # skipped.
    except Exception as error:
        raise NoPicture("is damaged (%s)" % type(error).__name__) from None


def shape_of(content: bytes) -> tuple[int, int, int] | None:
    """Tells a file's height, width and channels (1 for grey, else 3) from its head; None where it is no
    picture.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            turned = image.getexif().get(0x0112, 1) > 4  # EXIF: lying on its side
            height, width = image.size if turned else image.size[::-1]
            return height, width, 1 if image.mode in GREY_MODES else 3
    except Exception:  # as in `decode`: whatever a decoder raises, this is no picture
        return None


def fit(image: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Stretches uint8 [height, width, channels] to `image_shape`, turning grey into RGB or back as that
    asks.
    """
    if image.shape == image_shape:
        return image
    from PIL import Image

    return _fitted(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), image_shape)


def _fitted(image: Image.Image, image_shape: tuple[int, int, int]) -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion would clip all above 255 to white.
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    height, width, channels = image_shape
    image = image.convert("L" if channels == 1 else "RGB").resize((width, height), Image.BILINEAR)
    return np.asarray(image, np.uint8).reshape(image_shape)
