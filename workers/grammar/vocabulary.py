"""A model's tokens, as llguidance needs to know them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence

from llguidance import LLTokenizer, TokenizerWrapper


class Vocabulary:
    """The tokenizer of one loaded model. Making one takes up to a second; it is shared by all requests."""

    def __init__(self, tokenizer: LLTokenizer) -> None:
        self.tokenizer = tokenizer
        ids = [token for token in range(tokenizer.vocab_size) if tokenizer.is_special_token(token)]
        self.special = {text: token for token in ids if (text := _text(tokenizer, token))}
        longest_first = sorted(self.special, key=len, reverse=True)
        self._split = re.compile("(" + "|".join(map(re.escape, longest_first)) + ")") if longest_first else None

    @classmethod
    def of_pieces(
        cls,
        pieces: Sequence[bytes],
        special: Collection[int],
        end_tokens: Sequence[int],
        tokenize: Callable[[str], list[int]],
    ) -> Vocabulary:
        """For engines that are not llama.cpp's. `tokenize` takes text without special tokens."""
        wrapper = TokenizerWrapper(_Pieces(pieces, special, end_tokens[0], tokenize))
        return cls(LLTokenizer(wrapper, eos_token=list(end_tokens)))

    def split(self, text: str) -> list[str | int]:
        """`text` as special tokens and the text between them."""
        if self._split is None:
            return [text] if text else []
        return [self.special.get(part, part) for part in self._split.split(text) if part]

    def tokenize(self, text: str) -> list[int]:
        """Tokens of `text`, special ones included."""
        tokens: list[int] = []
        for part in self.split(text):
            tokens += [part] if isinstance(part, int) else self.tokenizer.tokenize_str(part)
        return tokens


class _Pieces:
    """What llguidance's wrapper asks of a tokenizer."""

    def __init__(
        self, pieces: Sequence[bytes], special: Collection[int], end: int, tokenize: Callable[[str], list[int]]
    ) -> None:
        self.eos_token_id = end
        self.bos_token_id = None
        self.tokens = list(pieces)
        self.special_token_ids = list(special)
        self._tokenize = tokenize

    def __call__(self, text: bytes | str) -> list[int]:
        return self._tokenize(text.decode(errors="replace") if isinstance(text, bytes) else text)


def _text(tokenizer: LLTokenizer, token: int) -> str:
    return tokenizer.decode_bytes([token]).decode(errors="ignore")
