"""One picture, from a file's bytes or an array, to the size and colours that a model wants; one way for the
engine and for the device. Pillow is imported when there is a picture: who only plans with a data set, as the
web process does, needs none.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
# how a picture of other proportions comes to the model's size
FITS = {
    "stretch": "stretched",
    "crop": "short side fitted, centre cut out",
    "crop_875": "short side fitted to 1/0.875 of the size, centre cut out",
    "pad": "long side fitted, black beside it",
}
CROPPED = {"crop": 1.0, "crop_875": 0.875}  # the share of the short side that stays
GREY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L")
MOST_PIXELS = 50000000


class NoPicture(Exception):
    """These bytes are not used; the message says why, to stand behind the file's name."""


def decode(
    content: bytes, image_shape: tuple[int, int, int], fit: str = "stretch", upright: bool = True
) -> np.ndarray:
    """Decodes a file and brings it to `image_shape` (height, width, channels) in one of the FITS; turned
    by its EXIF note where it shall be `upright`, else as it is stored.

    Returns uint8 of that shape; 1 channel is grey, 3 are RGB. Raises NoPicture for another format, a broken
    file or more than MOST_PIXELS pixels.
    """
    return decode_in_ways(content, image_shape, [(fit, upright)])[0]


def decode_in_ways(
    content: bytes, image_shape: tuple[int, int, int], ways: list[tuple[str, bool]]
) -> list[np.ndarray]:
    """Decodes a file once and returns it in each of the ways (fit, upright); see `decode`."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise NoPicture("has more than %d million pixels" % (MOST_PIXELS // 10**6))
            # A JPEG may be decoded at a fraction of its size; twice the wanted size keeps the resize smooth.
            image.draft(None, (2 * max(image_shape[:2]),) * 2)
            turned = ImageOps.exif_transpose(image) if any(upright for _, upright in ways) else image
            return [_fitted(turned if upright else image, image_shape, fit) for fit, upright in ways]
    except NoPicture:
        raise
    except UnidentifiedImageError:
        raise NoPicture("is none of " + ", ".join(FORMATS)) from None
    # A decoder fed with broken bytes may raise nearly anything, and each means the same: this picture is
    # skipped.
    except Exception as error:
        raise NoPicture("is damaged (%s)" % type(error).__name__) from None


def shape_of(content: bytes) -> tuple[int, int, int, bool] | None:
    """Tells a file's height, width and channels (1 for grey, else 3) from its head, and whether an EXIF note
    turns it (height and width are those of the upright picture); None where it is no picture.
    """
    from PIL import Image

    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            note = image.getexif().get(0x0112, 1)
            height, width = image.size if 4 < note < 9 else image.size[::-1]
            return height, width, 1 if image.mode in GREY_MODES else 3, 1 < note < 9
    except Exception:  # as in `decode`: whatever a decoder raises, this is no picture
        return None


def fit(image: np.ndarray, image_shape: tuple[int, int, int], how: str = "stretch") -> np.ndarray:
    """Brings uint8 [height, width, channels] to `image_shape` in one of the FITS, turning grey into RGB or
    back as that asks.
    """
    if how == "stretch" and image.shape == image_shape:
        return image
    from PIL import Image

    return _fitted(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), image_shape, how)


def _fitted(image: Image.Image, image_shape: tuple[int, int, int], fit: str = "stretch") -> np.ndarray:
    from PIL import Image

    if image.mode.startswith("I"):
        # 16 bits a pixel: Pillow's own conversion would clip all above 255 to white.
        image = Image.fromarray((np.asarray(image).astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8))
    height, width, channels = image_shape
    image = image.convert("L" if channels == 1 else "RGB")
    if fit == "pad":
        image = _padded(image, width, height)
    elif fit in CROPPED:
        image = image.resize((width, height), Image.BILINEAR, box=_middle(image, width, height, fit))  # type: ignore[attr-defined]
    elif fit == "stretch":
        image = image.resize((width, height), Image.BILINEAR)  # type: ignore[attr-defined]
    else:
        raise ValueError("there is no fit called %r" % fit)
    return np.asarray(image, np.uint8).reshape(image_shape)


def _middle(image: Image.Image, width: int, height: int, fit: str) -> tuple[float, float, float, float]:
    """Returns left, top, right, bottom of what is cut out of the middle."""
    kept = min(image.width / width, image.height / height) * CROPPED[fit]
    left = max(0.0, (image.width - width * kept) / 2)
    top = max(0.0, (image.height - height * kept) / 2)
    return left, top, image.width - left, image.height - top


def _padded(image: Image.Image, width: int, height: int) -> Image.Image:
    from PIL import Image

    share = min(width / image.width, height / image.height)
    inner = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    padded = Image.new(image.mode, (width, height))
    place = ((width - inner[0]) // 2, (height - inner[1]) // 2)
    padded.paste(image.resize(inner, Image.BILINEAR), place)  # type: ignore[attr-defined]
    return padded
