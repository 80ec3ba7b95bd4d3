"""Names that are like another, for errors that say what might have been meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

COMPARED = 200  # characters of the name; comparing takes its length times theirs


def closest(name: str, keys: Iterable[str]) -> list[str]:
    """All of `keys` (`publisher/model`), the most like `name` first: as a whole or without their publisher."""
    matcher = difflib.SequenceMatcher(b=name.casefold()[:COMPARED])

    def similarity(key: str) -> float:
        ratios = []
        for candidate in (key, key.rpartition("/")[2]):
            matcher.set_seq1(candidate.casefold())
            ratios.append(matcher.ratio())
        return max(ratios)

    return sorted(keys, key=similarity, reverse=True)
