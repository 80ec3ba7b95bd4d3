"""The wire schema: what clients send and receive, one file per noun, as msgspec Structs.

Source of the forms: OpenAI's API reference and the types of `openai` 3.54; Open Responses 2026-04-24.
"""
