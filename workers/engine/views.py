"""The pictures of one sequence: where their cells are, and what the projector makes of them while they are needed."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from workers.engine.core import ImageCells, Picture


class Gallery(Protocol):
    """Who looks at pictures: `workers.engine.vision`."""

    def look(self, picture: Picture) -> Future[list[NDArray[np.float32]]]: ...

    def look_away(self, picture: Picture) -> None: ...


class Views:
    """Belongs to the engine's thread."""

    def __init__(self, images: Sequence[ImageCells], gallery: Gallery | None) -> None:
        self._images = images
        self._gallery = gallery
        self._looks: dict[int, Future[list[NDArray[np.float32]]]] = {}  # by the start of the image

    def at(self, index: int) -> ImageCells | None:
        """The image that the token at `index` belongs to."""
        return next((image for image in self._images if image.start <= index < image.end), None)

    def next_start(self, index: int, default: int) -> int:
        """Where the first image from `index` on begins."""
        return next((image.start for image in self._images if image.start >= index), default)

    def saved(self, index: int) -> int:
        """Positions that the images before `index` take fewer than cells."""
        return sum(image.count - image.span for image in self._images if image.end <= index)

    def look(self, filled: int) -> None:
        """Has the images looked at that are not in the cache yet, of which the first `filled` tokens are."""
        for image in self._images:
            if image.end > filled and image.start not in self._looks:
                assert self._gallery is not None
                self._looks[image.start] = self._gallery.look(image.picture)

    def look_away(self) -> None:
        """Nothing more is needed."""
        for image in self._images:
            if self._looks.pop(image.start, None) is not None and self._gallery is not None:
                self._gallery.look_away(image.picture)

    def ready(self, image: ImageCells) -> bool:
        """Whether `rows` has an answer."""
        return self._looks[image.start].done()

    def rows(self, image: ImageCells, start: int, count: int) -> NDArray[np.float32]:
        """The embeddings of `count` cells from the token index `start` on. Raises what looking failed with."""
        embeddings = self._looks[image.start].result()[image.part]
        offset = start - image.start
        return embeddings[offset : offset + count]
