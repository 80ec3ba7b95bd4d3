"""What handlers find on the application."""

from __future__ import annotations

from aiohttp import web
from arq.connections import ArqRedis

from api.chores import Chores
from api.creation import Creation
from api.draining import Draining
from api.fleet import Fleet
from api.relay import Relay
from api.streams import Streams
from api.websocket import Connection
from shared.settings import Settings

SETTINGS = web.AppKey("SETTINGS", Settings)
REDIS = web.AppKey("REDIS", ArqRedis)
RELAY = web.AppKey("RELAY", Relay)
FLEET = web.AppKey("FLEET", Fleet)
STREAMS = web.AppKey("STREAMS", Streams)
CHORES = web.AppKey("CHORES", Chores)
CREATION = web.AppKey("CREATION", Creation)
DRAINING = web.AppKey("DRAINING", Draining)
SOCKETS: web.AppKey[set[Connection]] = web.AppKey("SOCKETS", set)
