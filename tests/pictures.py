"""Image files for tests."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from shared.data_urls import write_data_url


def picture(width: int, height: int, seed: int = 0, kind: str = "PNG", **options: object) -> bytes:
    """An image file of noise; another seed is another image."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return encoded(Image.fromarray(noise), kind, **options)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def plain_url(width: int, height: int) -> str:
    """A large image in a small file."""
    return write_data_url(encoded(Image.new("RGB", (width, height), "teal"), "PNG"))


def picture_url(width: int, height: int, seed: int = 0) -> str:
    return write_data_url(picture(width, height, seed))
