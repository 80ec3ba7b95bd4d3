"""Cuts texts with long runs of one kind of characters, which llama.cpp cannot split into words.

Most pre-tokenizers of llama.cpp are patterns for std::regex (`llm_tokenizer_bpe` in its src/llama-vocab.cpp), which
libstdc++ matches by recursion: each character that one repetition takes costs 330 to 390 bytes of stack, so that a
run of 22,000 letters, blanks or full stops ends a process whose stack has 8 MiB. Cut into pieces that are tokenized one
by one, no run comes near that. A text without such a run stays whole, and its tokens are what they were.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

PIECE = 1536  # characters; what counts digits by three or blanks by powers of two is not cut out of step
LONGEST_RUN = 2 * PIECE  # 1.2 MB of stack, and two runs may follow each other in one match

# What a run is differs between the patterns. These classes have everything that any of them may take for part of one:
# what ends a run is listed, and only what ends it everywhere.
_ENDS = r" \t-\r"  # not other blanks: some patterns know no blanks beyond ASCII
_SIGNS = r"!-/:-@\[-`{-~！-／：-＠"  # not those of CJK's first block: it is a range of letters for some
_LETTERS = r"0-9A-Za-zÀ-ÖØ-öø-ɏΑ-ΡΣ-Ωα-ωА-яא-תء-غف-يअ-हก-ฮぁ-んァ-ヴ一-龥가-힣"

_WORD = f"[^{_ENDS}{_SIGNS}]"  # letters, marks, digits, and what may be one
_SIGN = f"[^{_ENDS}{_LETTERS}]"  # punctuation, symbols, marks, controls
_BLANK = r"\s"
_SOLID = f"[^{_ENDS}]"
_PHRASE = rf"[^\t-\r{_SIGNS}]"

_CLASSES = {
    "exaone-moe": (_PHRASE, _SIGN, _BLANK),  # words with single blanks between them are one match
    **dict.fromkeys(("bloom", "gpt3-finnish", "poro-chat", "viking", "whitespace"), (_SOLID, _BLANK)),
}


class Runs:
    """The long runs of texts for one model."""

    def __init__(self, pre_tokenizer: str, markers: Collection[str]) -> None:
        """`pre_tokenizer`: the model's `tokenizer.ggml.pre`. `markers`: the texts of tokens that are recognised in a
        text as they are written; none of them is cut in two."""
        classes = _CLASSES.get(pre_tokenizer, (_WORD, _SIGN, _BLANK))
        self._classes = [(re.compile(f"{one}{{{PIECE}}}"), re.compile(f"{one}*")) for one in classes]
        # Markers of one repeated character are runs themselves: half of many blanks is still many blanks.
        self._markers = frozenset(marker for marker in markers if len(set(marker)) > 1)
        self._longest_marker = max(map(len, self._markers), default=0)
        lengths: dict[str, set[int]] = {}
        for marker in self._markers:
            lengths.setdefault(marker[0], set()).add(len(marker))
        self._marker_lengths = lengths

    def cut(self, text: str) -> list[str]:
        """The text in pieces, no run of which is longer than LONGEST_RUN; most texts are one piece.

        Where a run is cut depends on itself only, not on where it stands.
        """
        if len(text) <= LONGEST_RUN:
            return [text]
        cuts = sorted({self._before_marker(text, at) for at in self._cuts(text)} - {0})
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    def _cuts(self, text: str) -> Iterator[int]:
        """Looks at every PIECE-th character only: a longer run than two pieces fills the stretch behind one of them."""
        for full, run in self._classes:
            at = 0
            while at + PIECE <= len(text):
                if full.match(text, at) is None:
                    at += PIECE
                    continue
                start = at - _length(run, text[max(0, at - PIECE) : at][::-1], 0)
                end = at + _length(run, text, at)
                if end - start > LONGEST_RUN:
                    yield from range(start + PIECE, end - PIECE + 1, PIECE)
                at = (end // PIECE + 1) * PIECE

    def _before_marker(self, text: str, at: int) -> int:
        """The next place for a cut that is in no marker, at or before `at`."""
        start = max(0, at - self._longest_marker + 1)
        while start < at:
            for length in self._marker_lengths.get(text[start], ()):
                if start + length > at and text[start : start + length] in self._markers:
                    at, start = start, max(0, start - self._longest_marker + 1)
                    break
            else:
                start += 1
        return at


def _length(run: re.Pattern[str], text: str, at: int) -> int:
    found = run.match(text, at)
    return found.end() - at if found else 0
