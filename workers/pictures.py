"""The images of a conversation on their way through its chat template: marks stand for them in the text."""

from __future__ import annotations

import re
import secrets

from shared.schema.content import InputImage
from workers.engine.core import Picture, PictureRefused


class Pictures:
    """Collects the images of one rendering. A mark cannot be guessed, so that no text can contain one."""

    def __init__(self) -> None:
        self._secret = secrets.token_hex(16)
        self._pictures: list[Picture] = []

    def __len__(self) -> int:
        return len(self._pictures)

    def mark(self, image: InputImage) -> str:
        """What stands for the image until `split`. Raises PictureRefused for one that is not there any more."""
        seen = image.seen
        url = (seen.data_url or image.image_url) if seen else None
        if not seen or not url:
            raise PictureRefused("an image of the conversation is not stored with it")
        self._pictures.append(Picture(seen.digest, seen.width, seen.height, url))
        return f"<|{self._secret}:{len(self._pictures) - 1}|>"

    def split(self, text: str) -> list[str | Picture]:
        """The text between the images, and the images that the template has let through."""
        pieces = re.split(rf"<\|{self._secret}:(\d+)\|>", text)
        parts = [self._pictures[int(piece)] if n % 2 else piece for n, piece in enumerate(pieces)]
        return [part for part in parts if part]
