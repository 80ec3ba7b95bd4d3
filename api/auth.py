"""Who asks: every request but those for health needs a key where the operator has set API_KEYS."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from api.errors import ApiError
from shared.api_keys import PUBLIC, Key, Keys

OPEN = frozenset({"/healthz", "/readyz"})
"""What platforms ask without a key; it says nothing about anybody."""

KEY = web.RequestKey("KEY", Key)
BROWSER_PREFIX = "openai-insecure-api-key."
"""How pages send a key with a WebSocket, where they can set no header: as one of the subprotocols they offer."""


class Authentication:
    """Lets in who has a key. A new path is closed until it is put into OPEN."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def install(self, app: web.Application) -> None:
        """To be called after CORS is installed: a browser asks without a key whether it may call."""
        if self._keys:
            app.middlewares.append(self._check)

    @web.middleware
    async def _check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path not in OPEN:
            request[KEY] = self._key_of(request)
        return await handler(request)

    def _key_of(self, request: web.Request) -> Key:
        """Raises ApiError, which does not repeat what was sent."""
        token = _token(request)
        if token is None:
            raise _refused("No API key was given. Send one as 'Authorization: Bearer KEY'.")
        key = self._keys.find(token)
        if key is None:
            raise _refused("This API key is not known here, or not any more.")
        return key


def owner_of(request: web.Request) -> str:
    """Whose responses and conversations a request is about: its key's name."""
    return request[KEY].name if KEY in request else PUBLIC


def chosen_subprotocol(request: web.Request) -> list[str]:
    """The subprotocol to answer a WebSocket with: the first one offered that is no key, if any."""
    return [offer for offer in _offers(request) if not offer.startswith(BROWSER_PREFIX)][:1]


def _token(request: web.Request) -> str | None:
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if request.headers.get(hdrs.UPGRADE, "").lower() == "websocket":
        for offer in _offers(request):
            if offer.startswith(BROWSER_PREFIX):
                return offer.removeprefix(BROWSER_PREFIX)
    return None


def _offers(request: web.Request) -> list[str]:
    offered = ",".join(request.headers.getall(hdrs.SEC_WEBSOCKET_PROTOCOL, ()))
    return [offer.strip() for offer in offered.split(",") if offer.strip()]


def _refused(message: str) -> ApiError:
    return ApiError(401, message, code="invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
