"""Image files and their pixels. Pillow reads them, as llama.cpp's own reader knows no WebP and no rotation.

The first picture of an animation counts; what is transparent is white; photographs are turned as their camera says.
"""

from __future__ import annotations

import io
from typing import NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
Image.MAX_IMAGE_PIXELS = None  # `read_image` has a limit of its own


class BadImage(ValueError):
    """Not an image that can be used; `code` is OpenAI's for it."""

    def __init__(self, reason: str, code: str) -> None:
        super().__init__(reason)
        self.code = code


class Pixels(NamedTuple):
    width: int
    height: int
    rgb: bytes  # a byte for each of red, green and blue, row by row from the top


def read_image(data: bytes, max_pixels: int) -> Pixels:
    """The pixels of an image file, at most so many: larger ones are refused before they are read. Raises BadImage."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                reason = f"it has {width} x {height} pixels, {max_pixels} are allowed"
                raise BadImage(reason, "image_too_large")
            upright = ImageOps.exif_transpose(image)
            if upright.has_transparency_data:
                upright = upright.convert("RGBA")
                paper = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(paper, upright)
            rgb = upright.convert("RGB")
            return Pixels(*rgb.size, rgb.tobytes())
    except UnidentifiedImageError:
        reason = f"it is none of {', '.join(FORMATS)}"
        raise BadImage(reason, "unsupported_image_media_type") from None
    except BadImage:
        raise
    except Exception as error:  # Pillow lets through what its readers stumble over: struct.error, IndexError, ...
        raise BadImage(f"it is damaged ({error})", "image_parse_error") from error
