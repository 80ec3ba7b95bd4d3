"""Dialects: one small file per family of chat templates, chosen from the template's source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workers.dialects import (
    command_r,
    deepseek,
    gemma4,
    glm,
    granite,
    harmony,
    hermes,
    kimi,
    lfm2,
    llama3,
    minimax,
    mistral,
    prompted,
    qwen_xml,
    seed_oss,
)
from workers.dialects.base import Dialect
from workers.dialects.marked import MarkedDialect, levels_of

Detect = Callable[[str], Dialect | None]

FAMILIES: tuple[Detect, ...] = (
    harmony.detect,
    gemma4.detect,
    seed_oss.detect,
    minimax.detect,
    kimi.detect,
    deepseek.detect,
    command_r.detect,
    glm.detect,
    qwen_xml.detect,
    granite.detect,
    mistral.detect,
    lfm2.detect,
    llama3.detect,
    hermes.detect,
    prompted.detect,
)
"""Every family in the order in which it is asked: one that a marker of its own gives away comes first."""


def detect(template: str) -> Dialect:
    """The dialect of a chat template. A template of no known family gets the generic one."""
    for detect_family in FAMILIES:
        if (dialect := detect_family(template)) is not None:
            break
    else:
        dialect = prompted.generic(template)
    if isinstance(dialect, MarkedDialect):
        return replace(dialect, levels=levels_of(template))
    return dialect
