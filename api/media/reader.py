"""Images and files of a request, looked into: whatever is wrong with them is a 400 that names the place."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from api.errors import ApiError, unavailable
from api.media.download import DownloadFailed, download
from api.media.pdf import BadPdf, read_pdf
from api.media.text import NotText, decode_text
from shared.address_guard import AddressGuard, AddressRefused, NotLookedUp
from shared.data_urls import read_base64, read_data_url, write_data_url
from shared.images import BadImage, read_image
from shared.schema.content import InputFile, InputImage, MessagePart, ReadFile, SeenImage
from shared.schema.items import Item, ItemReference, Message, content_parts
from shared.schema.models import ModelCard
from shared.settings import Settings

AT_ONCE = 2  # images and PDFs being read; others wait
MAX_NAME = 200  # characters of a file's name that the model is told


class _Content(NamedTuple):
    data: bytes
    name: str
    remote: bool


class _Codes(NamedTuple):
    """Error codes; OpenAI has names of its own for images."""

    encoding: str
    size: str
    url: str
    download: str


_IMAGE = _Codes("invalid_base64_image", "image_file_too_large", "invalid_image_url", "failed_to_download_image")
_FILE = _Codes("invalid_base64", "file_too_large", "invalid_url", "failed_to_download_file")


class MediaReader:
    """Fills in what is stored with images and files (`InputImage.seen`, `InputFile.read`)."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._guard = AddressGuard(settings.private_networks)
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def read(self, items: Sequence[Item | ItemReference], where: str = "input") -> None:
        """Reads everything in `items`, which stand at `where`. Raises ApiError."""
        images = 0
        for place, part in _places(items, where):
            if isinstance(part, InputImage):
                images += 1
                if images > self._settings.max_images:
                    message = f"{place}: there are more than {self._settings.max_images} images."
                    raise _bad(message, place, "array_above_max_length")
                part.seen = await self._see(part, place)
            elif isinstance(part, InputFile):
                part.read = await self._read_file(part, place)

    async def _see(self, image: InputImage, place: str) -> SeenImage:
        if image.file_id:
            raise _no_files(place)
        url = image.image_url
        if not url:
            raise _missing(place, "image_url")
        place = f"{place}.image_url"
        content = await self._fetch(url, place, _IMAGE)
        if not content.data:
            raise _bad(f"{place}: the image is empty.", place, "empty_image_file")
        try:
            async with self._turns:
                pixels = await asyncio.to_thread(read_image, content.data, self._settings.max_image_pixels)
        except BadImage as error:
            raise _bad(f"{place}: the image cannot be used: {error}.", place, error.code) from None
        return SeenImage(
            digest=hashlib.sha256(content.data).hexdigest(),
            width=pixels.width,
            height=pixels.height,
            data_url=write_data_url(content.data) if content.remote else None,
        )

    async def _read_file(self, file: InputFile, place: str) -> ReadFile:
        if file.file_id:
            raise _no_files(place)
        if file.file_data and file.file_url:
            raise _bad(f"{place} has both `file_data` and `file_url`; send one of them.", place, "invalid_value")
        if file.file_data:
            place = f"{place}.file_data"
            content = self._given(file.file_data, place, _FILE)
        elif file.file_url:
            place = f"{place}.file_url"
            content = await self._fetch(file.file_url, place, _FILE)
        else:
            raise _missing(place, "file_data")
        name = _shown_name(file.filename or content.name)
        settings = self._settings
        try:
            if content.data.lstrip()[:5] == b"%PDF-":
                async with self._turns:
                    pdf = await read_pdf(
                        content.data,
                        max_pages=settings.max_pdf_pages,
                        max_characters=settings.max_file_bytes,
                        seconds=settings.pdf_seconds,
                    )
                pages = "1 page" if pdf.pages == 1 else f"{pdf.pages} pages"
                return ReadFile(name=name, kind=f"PDF, {pages}", text=pdf.text)
            return ReadFile(name=name, kind="text", text=decode_text(content.data))
        except (BadPdf, NotText) as error:
            raise _bad(f"{place}: the file '{name}' cannot be read: {error}.", place, "invalid_file") from None

    def _given(self, text: str, place: str, codes: _Codes) -> _Content:
        """What a client sent with the request."""
        try:
            data = read_data_url(text) if text[:5].lower() == "data:" else read_base64(text)
        except ValueError as error:
            raise _bad(f"{place}: {error}.", place, codes.encoding) from None
        return self._checked(_Content(data, "", remote=False), place, codes)

    async def _fetch(self, url: str, place: str, codes: _Codes) -> _Content:
        """What a URL holds: a data URL itself, others where the operator allows it."""
        if url[:5].lower() == "data:":
            return self._given(url, place, codes)
        if not self._settings.allow_remote_media:
            message = f"{place}: this server fetches no URLs (ALLOW_REMOTE_MEDIA). Send a data URL."
            raise _bad(message, place, codes.url)
        settings = self._settings
        try:
            found = await download(
                url, self._guard, max_bytes=settings.max_file_bytes, seconds=settings.remote_media_seconds
            )
        except NotLookedUp as error:
            raise unavailable(f"{place} cannot be fetched: {error}.") from None
        except AddressRefused as error:
            raise _bad(f"{place} is refused: {error}.", place, codes.url) from None
        except DownloadFailed as error:
            raise _bad(f"{place} cannot be fetched: {error}.", place, codes.download) from None
        return self._checked(_Content(found.data, found.name, remote=True), place, codes)

    def _checked(self, content: _Content, place: str, codes: _Codes) -> _Content:
        if len(content.data) > self._settings.max_file_bytes:
            message = f"{place} has {len(content.data)} bytes, {self._settings.max_file_bytes} are allowed."
            raise _bad(message, place, codes.size)
        return content


def check_vision(items: Sequence[Item | ItemReference], card: ModelCard, where: str = "input") -> None:
    """Raises ApiError where there is an image and the model cannot be shown any."""
    if card.vision:
        return
    for place, part in _places(items, where):
        if isinstance(part, InputImage):
            message = (
                f"{place}: the model '{card.id}' cannot be shown images: it has no vision projector "
                "(an mmproj file next to its GGUF)."
            )
            raise _bad(message, place, "unsupported_content")


def _places(items: Sequence[Item | ItemReference], where: str) -> Iterator[tuple[str, MessagePart]]:
    for position, item in enumerate(items):
        field = "content" if isinstance(item, Message) else "output"
        for number, part in enumerate(content_parts(item)):
            yield f"{where}[{position}].{field}[{number}]", part


def _shown_name(name: str) -> str:
    printable = "".join(c if c.isprintable() and c != "`" else " " for c in name[:MAX_NAME])
    return printable.strip() or "file"


def _bad(message: str, param: str, code: str) -> ApiError:
    return ApiError(400, message, param=param, code=code)


def _no_files(place: str) -> ApiError:
    message = f"{place}.file_id: this server has no files API. Send the content itself."
    return _bad(message, f"{place}.file_id", "unsupported_parameter")


def _missing(place: str, field: str) -> ApiError:
    return _bad(f"{place}.{field} is missing.", f"{place}.{field}", "missing_required_parameter")
