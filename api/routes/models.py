"""`GET /v1/models` and `GET /v1/models/{id}`: what the live workers serve."""

from __future__ import annotations

import msgspec
from aiohttp import web

from api.context import FLEET
from shared.schema.models import ModelList

routes = web.RouteTableDef()


@routes.get("/v1/models")
async def list_models(request: web.Request) -> web.Response:
    models = ModelList(data=request.app[FLEET].models())
    return web.Response(body=msgspec.json.encode(models), content_type="application/json")


@routes.get("/v1/models/{name:.+}")
async def retrieve_model(request: web.Request) -> web.Response:
    fleet = request.app[FLEET]
    name = request.match_info["name"]
    model = fleet.model(name)
    if model is None:
        raise fleet.not_found(name)
    return web.Response(body=msgspec.json.encode(model), content_type="application/json")
