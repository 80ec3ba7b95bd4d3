"""Settings of every process, read once from the environment. `.env.example` documents each with its default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REPOSITORY_MODELS = Path(__file__).resolve().parent.parent / "models"


class SettingsError(ValueError):
    """An environment variable that cannot be used; the message names it and says what would be right."""


@dataclass(frozen=True, slots=True)
class Settings:
    """One field per environment variable: the field `redis_url` is read from `REDIS_URL`, and so on."""

    # where things are
    redis_url: str = "redis://127.0.0.1:6379/0"  # also rediss:// (TLS), unix://, redis+sentinel://, rediss+sentinel://
    models_dir: Path = REPOSITORY_MODELS
    host: str = "0.0.0.0"  # noqa: S104  a PaaS routes to every address of the dyno; `llamarelay up` uses 127.0.0.1
    port: int = 8080
    log_level: str = "info"
    log_format: str = "auto"  # auto: console on a terminal, else json
    log_content: bool = False  # with LOG_LEVEL=debug: prompts and answers too

    # models
    models: tuple[str, ...] = ()  # what a worker serves; empty: every model in the catalog
    default_model: str = "llamarelay/spark"

    # engine; 0 lets the engine choose
    context_length: int = 0  # tokens one sequence may hold; 0: the model's own, at most 32768
    kv_tokens: int = 0  # cells of the KV cache all sequences share; 0: chosen from context and slots
    slots: int = 32  # sequences decoded at once by one model
    threads: int = 0  # 0: one per core; a tiny model uses one where a batch is small
    cores: int = 0  # what a worker may use where `threads` is 0; 0: all (`up` divides them among its workers)
    gpu_layers: int = -1  # -1: all, where llama.cpp was built with a GPU backend
    batch_tokens: int = 2048  # tokens of one llama_decode call at most
    prefill_tokens: int = 512  # prompt tokens added to a step while other sequences are decoding
    micro_batch_tokens: int = 512  # llama.cpp's n_ubatch
    temperature: float = 0.8  # where a request leaves it open; likewise top_p
    top_p: float = 0.95
    top_k: int = 40  # these two always apply: the API has no fields for them
    min_p: float = 0.05
    thinking_tokens_minimal: int = 128  # how long a model may think at each effort, where its template knows none
    thinking_tokens_low: int = 512
    thinking_tokens_medium: int = 4096
    thinking_tokens_high: int = 16384
    max_loaded_models: int = 4  # models one worker keeps in memory; the least recently used idle one goes first

    # the Redis protocol, in seconds
    redis_timeout_seconds: float = 3.0  # how long Redis may take to connect or to answer; at least 2
    outbox_events: int = 2048  # unsent events of one response at which its generation waits; also sent ones kept
    lease_seconds: float = 5.0
    heartbeat_seconds: float = 2.0
    poll_seconds: float = 1.0  # arq's polling, the safety net behind the wake-up
    queue_timeout_seconds: float = 600.0
    background_queue_timeout_seconds: float = 6 * 3600.0  # the same for background responses: nobody is kept waiting
    response_ttl_seconds: int = 30 * 24 * 3600  # stored responses and their items
    conversation_ttl_seconds: int = 30 * 24 * 3600  # conversations and their items, from their last use
    idempotency_ttl_seconds: int = 24 * 3600  # how long an Idempotency-Key stands for its response
    event_log_ttl_seconds: int = 24 * 3600  # event logs of finished responses
    job_timeout_seconds: float = 3600.0
    drain_seconds: float = 20.0

    # remote MCP servers
    allow_remote_mcp: bool = False  # whether requests may have tools of remote MCP servers
    mcp_allowed_hosts: tuple[str, ...] = ("public",)  # where they may be; `shared.mcp_hosts` says what can be listed
    mcp_connect_seconds: float = 10.0  # to connect, protocol handshake included
    mcp_list_seconds: float = 30.0  # to list all tools
    mcp_call_seconds: float = 300.0  # for one call
    mcp_max_result_bytes: int = 1024 * 1024  # of one call's result, as text
    mcp_max_tools: int = 256  # that one server may list
    mcp_max_calls: int = 32  # of one response
    mcp_jobs_aside: int = 64  # of one model, that wait for servers and take no slot; more of them keep their slots
    mcp_max_connections: int = 128  # sessions of one worker process, and as many calls; 0: any number
    mcp_calls_per_minute: int = 0  # to one host from one worker process, more wait; 0: any number
    mcp_require_approval: str = "never"  # or always: where a request does not say

    # keys and secrets
    api_keys: tuple[str, ...] = ()  # NAME:SHA256[:slots=N][:rpm=N], see shared/api_keys.py; none: nobody is asked
    allow_anonymous: bool = False  # listen without keys on an address that others can reach
    encryption_key: str = ""  # seals reasoning and compacted context; the same everywhere; `up` makes its own

    # the front end
    max_body_bytes: int = 8 * 1024 * 1024
    receive_seconds: float = 30.0  # how long a request's head, or more of its body, may take to come; 0: for ever
    max_input_items: int = 4096
    max_nesting: int = 64  # lists and objects within each other, in one item
    max_name_length: int = 256  # characters of an id, a name or a key that the client chooses
    max_metadata_pairs: int = 16
    max_metadata_key_length: int = 64
    max_metadata_value_length: int = 512
    cors_origins: tuple[str, ...] = ()  # whose browser pages may call: empty none, `*` all, else these origins
    max_file_bytes: int = 8 * 1024 * 1024  # of one file or image, decoded; also of the text in it
    max_images: int = 64  # of one request
    max_image_pixels: int = 36_000_000  # of one image
    max_pdf_pages: int = 500
    pdf_seconds: float = 20.0  # how long reading one PDF may take
    allow_remote_media: bool = False  # whether images and files may be http(s) addresses
    remote_media_seconds: float = 10.0  # how long fetching one may take, redirects included
    private_networks: tuple[str, ...] = ()  # that may be reached for clients though they are private, as CIDR
    hosted_tools: str = "ignore"  # or refuse: tools that only OpenAI hosts, such as web_search
    wire_dialect: str = "openai"  # or open-responses; a request may choose with the header LlamaRelay-Dialect
    no_worker: str = "refuse"  # or queue: what becomes of a request whose model no worker serves at the moment
    max_queue: int = 1000  # jobs of one model that may wait; 0: as many as come
    max_wait_seconds: float = 300.0  # how long a request may have to wait for its model, as estimated; 0: any time
    slow_reader_seconds: float = 120.0  # how long a client may read nothing of what waits for it; 0: for ever
    ping_seconds: float = 15.0
    send_done: bool = True  # `data: [DONE]` after the terminal event
    follower_buffer_events: int = 2048  # a slower reader is served from the log
    follower_buffer_bytes: int = 256 * 1024  # likewise
    websocket_seconds: float = 3600.0  # how long one WebSocket may last
    websocket_responses: int = 32  # responses running and waiting on one WebSocket
    websocket_connections: int = 1000  # WebSockets of one key at one web process; 0: any number
    silence_seconds: float = 2.0  # without a published event for so long, a follower looks into the log

    def __post_init__(self) -> None:
        if not _names_redis(self.redis_url):
            raise SettingsError(
                "REDIS_URL is no URL of a Redis: expected redis://, rediss:// or unix://, or redis+sentinel:// with "
                "HOST:PORT,HOST:PORT/SERVICE. Percent-encode its password."
            )  # nothing of it is shown: a part that looks wrong may be one of the password

    def most_calls(self, wanted: int | None) -> int:
        """How many calls of remote tools a response may make that wants `wanted` at most."""
        return self.mcp_max_calls if wanted is None else min(wanted, self.mcp_max_calls)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Settings from `environ` (default: the process environment). Raises SettingsError."""
        environ = os.environ if environ is None else environ
        values: dict[str, Any] = {
            f.name: _parse(f.name, f.default, environ[f.name.upper()])
            for f in fields(cls)
            if environ.get(f.name.upper(), "") != ""
        }
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """The inverse of `from_environment`: how `llamarelay up` hands its settings to the processes it starts."""
        return {f.name.upper(): _format(getattr(self, f.name)) for f in fields(self)}


def _names_redis(url: str) -> bool:
    """Whether `shared.redis.connection` can make sense of it."""
    try:
        parts = urlsplit(url)
        named = parts.netloc.rpartition("@")[2]
        hosts = [urlsplit(f"//{host}") for host in named.split(",")] if named else []
        whole = all(host.hostname and host.port != 0 for host in hosts)
    except ValueError:  # a port that is no number
        return False
    if parts.scheme == "unix":
        return bool(parts.path)
    first = parts.query.partition("=")[0]
    if not whole or "@" in f"{parts.path}{first}{parts.fragment}":  # the password had a / ? or #
        return False
    path = parts.path.strip("/").split("/")
    if parts.scheme in ("redis", "rediss"):
        return len(hosts) < 2 and len(path) == 1 and (path[0].isdecimal() or not path[0])
    sentinels = parts.scheme in ("redis+sentinel", "rediss+sentinel")
    return sentinels and bool(hosts and path[0]) and (len(path) == 1 or (len(path) == 2 and path[1].isdecimal()))


_CHOICES = {
    "log_format": ("auto", "console", "json"),
    "hosted_tools": ("ignore", "refuse"),
    "wire_dialect": ("openai", "open-responses"),
    "mcp_require_approval": ("never", "always"),
    "no_worker": ("refuse", "queue"),
}


def _parse(name: str, default: object, text: str) -> object:
    if (choices := _CHOICES.get(name)) and text not in choices:
        raise SettingsError(f"{name.upper()} must be {' or '.join(choices)}, got {text!r}")
    try:
        if isinstance(default, bool):
            return _BOOLEANS[text.strip().lower()]
        if isinstance(default, int):
            return int(text)
        if isinstance(default, float):
            return float(text)
        if isinstance(default, tuple):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if isinstance(default, Path):
            return Path(text).expanduser()
        return text
    except (ValueError, KeyError):
        kind = type(default).__name__
        raise SettingsError(f"{name.upper()} must be a {kind}, got {text!r}") from None


def _format(value: object) -> str:
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)


_BOOLEANS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
