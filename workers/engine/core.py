"""The few types everyone speaks: what an engine is asked, what it answers, and how it refuses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from workers.engine.generation import Generation

FinishReason = Literal["stop", "length", "cancelled"]
"""stop: an end token, or the grammar is complete; length: `max_tokens` or the context is full."""


class EngineError(Exception):
    """Everything an engine raises on purpose."""


class PromptTooLong(EngineError):
    """The prompt leaves no room for a single new token: it can never be served."""

    def __init__(self, prompt_tokens: int, context_length: int) -> None:
        super().__init__(f"the prompt has {prompt_tokens} tokens, the context holds {context_length}")
        self.prompt_tokens = prompt_tokens
        self.context_length = context_length


class ModelLoadError(EngineError):
    """A model file that cannot be served; `reason` names the file and says what llama.cpp said."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"cannot load {path}: {reason}")
        self.path = path
        self.reason = reason if reason.startswith(f"{path.name}: ") else f"{path.name}: {reason}"


class PictureRefused(EngineError):
    """This model cannot be shown this picture, or none at all; the message says why."""


class EngineFailed(EngineError):
    """The engine cannot go on with this generation: a fatal decode, a constraint that raised, or a closed engine."""


class Constraint(Protocol):
    """A grammar in progress, owned by one request: which tokens may come next.

    The engine calls it from its own threads, never twice at once: `finished` and `forced_tokens` at the start and after
    every change, `fill_masks` when a token has to be sampled, `instead` for one that was, `accept` for every new token,
    sampled or forced. What it raises fails its own generation and no other.
    """

    @property
    def finished(self) -> bool:
        """True when nothing may follow: the generation ends with "stop"."""

    @property
    def free(self) -> bool:
        """True while any token may come next (a lazy grammar before its trigger): no mask is asked for."""

    def instead(self, token: int) -> Sequence[int]:
        """The tokens that come in place of a sampled one; none where it may come."""

    def accept(self, token: int) -> None:
        """Advances by one token of the output; end tokens are not passed."""

    def forced_tokens(self) -> Sequence[int]:
        """The next tokens where there is no choice; the engine accepts and decodes them without sampling."""

    @staticmethod
    def fill_masks(constraints: Sequence[Any], rows: NDArray[np.int32]) -> None:
        """Fills `rows[i]` for `constraints[i]`: bit `t % 32` of word `t // 32` is 1 when token t may come next.

        Called once per step with all constraints of this class, in a thread of its own while llama.cpp decodes; it
        should release the GIL (llguidance's parallel executor does).
        """


@dataclass(frozen=True, slots=True)
class Sampling:
    """How the next token is chosen. Filters apply in llama.cpp's order: penalties, top_k, top_p, min_p, temperature."""

    temperature: float = 0.8  # 0: the likeliest token
    top_p: float = 1.0
    top_k: int = 0  # 0: all
    min_p: float = 0.0
    presence_penalty: float = 0.0  # the penalties see generated tokens only, as OpenAI's do
    frequency_penalty: float = 0.0
    seed: int | None = None  # None: a random one
    top_logprobs: int | None = None  # None: no logprobs; n: each token's, and the n likeliest alternatives'


@dataclass(frozen=True, slots=True)
class Picture:
    """An image that belongs into a prompt. The same digest means the same image; sizes are pixels."""

    digest: str
    width: int
    height: int
    url: str  # a data URL


@dataclass(frozen=True, slots=True, eq=False)
class ImageCells:
    """Where a picture, or one part of it, stands in a prompt."""

    start: int  # index among the prompt's tokens
    count: int
    picture: Picture
    part: int  # 0, unless the projector cuts pictures up
    whole: bool  # its cells see each other in both directions: they have to be computed at once
    span: int  # positions it takes; `count`, but with M-RoPE
    positions: NDArray[np.int32] | None  # (sections, count) with M-RoPE, else they follow each other

    @property
    def end(self) -> int:
        return self.start + self.count


@dataclass(frozen=True, slots=True)
class Reading:
    """A prompt with pictures as the engine reads it: the cells of pictures are negative among the tokens."""

    tokens: list[int]
    images: tuple[ImageCells, ...] = ()


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """One sequence to continue."""

    id: str
    tokens: Sequence[int]  # the prompt, at least one token
    sampling: Sampling = Sampling()
    max_tokens: int | None = None  # None: until the context is full; 0: only prefill, ends with "length"
    stop_tokens: frozenset[int] = frozenset()  # besides the model's own end tokens
    constraint: Constraint | None = None
    generated: int = (
        0  # how many of the last `tokens` an earlier run generated: penalties and the seed go on from there
    )
    images: Sequence[ImageCells] = ()  # the pictures among `tokens`, in order


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """Natural logarithms of probabilities in the model's own distribution: no temperature, filter, penalty or mask."""

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()  # the likeliest tokens, likeliest first


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one or more steps added to a generation."""

    tokens: tuple[int, ...]  # new tokens in order, without the end token
    finish: FinishReason | None = None  # on the last chunk only
    stop_token: int | None = None  # the end token that finished it, if one did
    logprobs: tuple[TokenLogprob, ...] | None = None  # one per token, when asked for

    def __add__(self, later: Chunk) -> Chunk:
        logprobs = (
            None
            if self.logprobs is None and later.logprobs is None
            else ((self.logprobs or ()) + (later.logprobs or ()))
        )
        return Chunk(self.tokens + later.tokens, later.finish, later.stop_token, logprobs)


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model, as far as prompts, grammars and the catalog need to know it."""

    path: Path
    description: str  # llama.cpp's: architecture, size, quantization
    context_length: int  # tokens one sequence may hold here
    train_context_length: int  # tokens the model was trained for
    vocab_size: int
    end_tokens: frozenset[int]
    special_tokens: frozenset[int]  # those that stand for markers, not for text
    control_tokens: frozenset[int]  # those of them that no text is meant to contain
    bos_token: str  # "" when the model has none
    eos_token: str
    adds_bos: bool  # `tokenize` puts the BOS token first, once
    chat_template: str | None
    parameters: int = 0
    size_bytes: int = 0
    vision: bool = False  # it can be shown pictures
    metadata: Mapping[str, str] = field(default_factory=dict)  # the GGUF's scalar keys as text


@dataclass(slots=True)
class EngineStats:
    """Counters since the model was loaded, and gauges of now."""

    steps: int = 0  # llama_decode calls
    prefilled_tokens: int = 0  # prompt tokens computed, recomputation after a preemption included
    cached_tokens: int = 0  # prompt tokens found in the KV cache
    generated_tokens: int = 0
    preemptions: int = 0
    decode_seconds: float = 0.0  # inside llama_decode
    busy_seconds: float = 0.0  # in steps, decode included
    running: int = 0  # sequences that hold a slot
    waiting: int = 0  # requests that do not yet
    free_cells: int = 0  # KV cells that hold nothing
    available_cells: int = 0  # free ones, and those of finished sequences kept only for reuse


class Engine(Protocol):
    """One loaded model."""

    @property
    def model(self) -> ModelInfo: ...

    @property
    def stats(self) -> EngineStats: ...

    def tokenize(self, text: str, *, special: bool = True) -> list[int]:
        """Token ids of `text`. `special`: text such as `<|im_end|>` becomes its control token.

        A BOS token is put first only where the model wants one and the text does not begin with it (a chat template
        usually writes it).
        """

    def read(self, parts: Sequence[str | Picture]) -> Reading:
        """Token ids of a prompt in which pictures stand between texts. Raises PictureRefused."""

    def piece(self, token: int) -> bytes:
        """The bytes of one token; control tokens give their text too. UTF-8 may be cut between tokens."""

    def generate(self, request: GenerationRequest) -> Generation:
        """Starts `request` and returns its chunks to come. Call it on the event loop. Raises PromptTooLong."""

    async def close(self) -> None:
        """Fails what runs, frees the model and returns when that is done."""
