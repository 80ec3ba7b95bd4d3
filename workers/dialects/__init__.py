"""Dialects: one small file per family of chat templates, chosen from the template's source."""

from __future__ import annotations

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

FAMILIES = (
    harmony,
    gemma4,
    seed_oss,
    minimax,
    kimi,
    deepseek,
    command_r,
    glm,
    qwen_xml,
    granite,
    mistral,
    lfm2,
    llama3,
    hermes,
    prompted,
)
"""Every family in the order in which it is asked: one that a marker of its own gives away comes first."""


def detect(template: str) -> Dialect:
    """The dialect of a chat template. A template of no known family gets the generic one."""
    for family in FAMILIES:
        if (dialect := family.detect(template)) is not None:
            return dialect
    return prompted.generic(template)
