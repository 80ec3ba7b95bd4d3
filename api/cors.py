"""Lets pages in a browser call from other origins, where the operator allows them (`CORS_ORIGINS`)."""

from __future__ import annotations

from collections.abc import Collection

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

ANY = "*"
METHODS = "GET, POST, DELETE"
# what a page may read of our answers beside the content type
EXPOSED = ", ".join(
    ("X-Request-Id", "Retry-After", *(f"x-ratelimit-{what}-requests" for what in ("limit", "remaining", "reset")))
)
MAX_AGE_SECONDS = 600  # how long a browser may remember a preflight


class Cors:
    """`origins` are as browsers send them, `https://app.example.com`, or `*` alone for all."""

    def __init__(self, origins: Collection[str]) -> None:
        self._any = ANY in origins
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    def install(self, app: web.Application) -> None:
        """Adds what CORS needs to an application; nothing without origins."""
        if self._origins:
            app.middlewares.append(self._preflight)
            app.on_response_prepare.append(self._add_headers)

    @web.middleware
    async def _preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answers a browser that asks whether it may call."""
        asked = request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_METHOD)
        if request.method != hdrs.METH_OPTIONS or not asked or not self.allows(request):
            return await handler(request)
        headers = {hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS, hdrs.ACCESS_CONTROL_MAX_AGE: str(MAX_AGE_SECONDS)}
        if wanted := request.headers.get(hdrs.ACCESS_CONTROL_REQUEST_HEADERS):
            headers[hdrs.ACCESS_CONTROL_ALLOW_HEADERS] = wanted  # SDKs send headers of their own: X-Stainless-...
        return web.Response(status=204, headers=headers)

    async def _add_headers(self, request: web.Request, response: web.StreamResponse) -> None:
        """Called when the headers of any answer are about to leave: a success, an error, a stream."""
        if not self._any:
            response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        if not self.allows(request):
            return
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED
        if self._any:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = ANY  # and no credentials: they would be anybody's
        else:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_CREDENTIALS] = "true"

    def allows(self, request: web.Request) -> bool:
        """Whether a request comes from a page of another origin that may call."""
        origin = request.headers.get(hdrs.ORIGIN)
        return origin is not None and (self._any or origin in self._origins)
