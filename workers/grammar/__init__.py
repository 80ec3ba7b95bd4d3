"""Grammars: what a request and a model's dialect allow the output to be, as llguidance knows it."""

from __future__ import annotations
