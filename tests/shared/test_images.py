"""Image files and data URLs."""

from __future__ import annotations

import struct
import zlib

import pytest
from PIL import Image

from shared.data_urls import read_base64, read_data_url, write_data_url
from shared.images import BadImage, read_image
from tests.pictures import encoded, picture

ENOUGH = 10_000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_every_format_is_read(kind: str) -> None:
    pixels = read_image(encoded(Image.new("RGB", (20, 10), "red"), kind), ENOUGH)
    assert (pixels.width, pixels.height, len(pixels.rgb)) == (20, 10, 600)
    assert pixels.rgb[0] > 250
    assert pixels.rgb[1] < 5


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    assert len(read_image(encoded(Image.new(mode, (4, 3)), "PNG"), ENOUGH).rgb) == 36


def test_what_is_transparent_is_white() -> None:
    assert read_image(encoded(Image.new("RGBA", (1, 1), (255, 0, 0, 0)), "PNG"), ENOUGH).rgb == b"\xff\xff\xff"


def test_photographs_are_turned_as_their_camera_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    pixels = read_image(encoded(Image.new("RGB", (20, 10)), "JPEG", exif=exif), ENOUGH)
    assert (pixels.width, pixels.height) == (10, 20)


def test_an_animation_is_its_first_picture() -> None:
    frames = [Image.new("RGB", (2, 2), color) for color in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert read_image(data, ENOUGH).rgb[:3] == b"\xff\x00\x00"


def test_a_picture_too_large_is_refused_before_it_is_read() -> None:
    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk + b"\x00\x00\x00\x00IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(BadImage, match="50000 x 50000") as refused:
        read_image(bomb, ENOUGH)
    assert refused.value.code == "image_too_large"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_damaged_files_are_refused(kind: str) -> None:
    data = picture(20, 10, kind=kind)
    codes = set()
    for length in (0, 3, 12, 30, len(data) // 2):
        with pytest.raises(BadImage) as refused:
            read_image(data[:length], ENOUGH)
        codes.add(refused.value.code)
    assert codes <= {"unsupported_image_media_type", "image_parse_error"}


@pytest.mark.parametrize("data", [b"", b"hello", b"%PDF-1.4", b"<svg/>", b"RIFF\x00\x00\x00\x00WAVE", b"II*\x00" * 9])
def test_other_files_are_refused(data: bytes) -> None:
    with pytest.raises(BadImage) as refused:
        read_image(data, ENOUGH)
    assert refused.value.code == "unsupported_image_media_type"


def test_data_urls_in_every_form() -> None:
    assert read_data_url(write_data_url(b"\x00\xff")) == b"\x00\xff"
    for text in ("data:text/plain;base64,aGk=", "DATA:;charset=utf-8;BASE64,aGk", "data:text/plain,h%69", "data:,hi"):
        assert read_data_url(text) == b"hi"
    assert read_base64("_-8 \n=") == read_base64("/+8=") == b"\xff\xef"
    for text in ("data:", "data:image/png;base64", "http://x", "data:;base64,é", "data:;base64,a", "data:;base64,a*bc"):
        with pytest.raises(ValueError, match="it is not"):
            read_data_url(text)
