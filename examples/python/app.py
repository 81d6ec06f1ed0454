"""A shop's back end in FastAPI: it lets users in, tells them over the gateway what happens, and hears who looks."""

import asyncio
import hashlib
import hmac
import json
import os
import random
import time
from collections import OrderedDict, defaultdict
from contextlib import asynccontextmanager
from typing import Annotated
from urllib.parse import quote

import httpx
import jwt
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

REALTIME_URL = os.environ["REALTIME_URL"]
REALTIME_KEY = os.environ["REALTIME_KEY"]
TOKEN_SECRET = os.environ["TOKEN_SECRET"]  # auth.secret of the gateway
HOOK_SECRET = os.environ["HOOK_SECRET"]

TOKEN_SECONDS = 3600
PUBLISH_ATTEMPTS = 5
HOOK_MAX_AGE_SECONDS = 300
HOOK_IDS_KEPT = 10_000

# What a database would have: users with their salt and hashed password, orders with their owner.
USERS = {
    "alice": ("5a1f" * 8, "d4e95b42fe3418c801eadb20a34f7b8cfc5d02e73c224f187d9a5392b0b8defd"),
    "bob": ("c07e" * 8, "7f0efe692faac33632bfc59d9ac489ce6340ee5731b3fb4cb93dc59b8d9b2511"),
}
OWNERS = {"7": "alice", "8": "bob"}
paid: set[str] = set()
watching: defaultdict[str, set[str]] = defaultdict(set)
visits: defaultdict[str, int] = defaultdict(int)
hook_ids: OrderedDict[str, None] = OrderedDict()


@asynccontextmanager
async def lifespan(app: FastAPI):
    # One client for all requests: it keeps its connections to the gateway.
    headers = {"Authorization": f"Bearer {REALTIME_KEY}"}
    async with httpx.AsyncClient(base_url=REALTIME_URL, headers=headers, timeout=5) as client:
        app.state.gateway = client
        yield


app = FastAPI(lifespan=lifespan)


class Login(BaseModel):
    user: str
    password: str


@app.post("/login")
def login(given: Login) -> dict[str, str]:
    salt, expected = USERS.get(given.user, ("00", ""))
    actual = hashlib.pbkdf2_hmac("sha256", given.password.encode(), bytes.fromhex(salt), 100_000).hex()
    if not hmac.compare_digest(actual, expected):
        raise HTTPException(401, "wrong user or password")
    now = int(time.time())
    # `join` are the rooms that the token opens; without it, it would be all.
    rooms = [f"orders-{number}" for number, owner in OWNERS.items() if owner == given.user]
    claims = {"sub": given.user, "iat": now, "exp": now + TOKEN_SECONDS, "join": rooms, "publish": []}
    return {"token": jwt.encode(claims, TOKEN_SECRET, algorithm="HS256")}


def current_user(bearer: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    try:
        claims = jwt.decode(bearer.credentials, TOKEN_SECRET, algorithms=["HS256"], options={"require": ["exp", "sub"]})
    except jwt.InvalidTokenError as error:
        raise HTTPException(401, "log in first") from error
    return claims["sub"]


def own_order(number: str, user: Annotated[str, Depends(current_user)]) -> str:
    if OWNERS.get(number) != user:
        raise HTTPException(404, "there is no such order of yours")
    return number


OwnOrder = Annotated[str, Depends(own_order)]


@app.post("/orders/{number}/pay")
async def pay(number: OwnOrder) -> dict[str, str]:
    paid.add(number)
    # The id says what happened, not which attempt to tell it this is: told twice, it is still heard once.
    event = {"event": "paid", "data": {"number": number}, "id": f"paid-{number}"}
    return {"offset": await publish(f"orders-{number}", event)}


@app.get("/orders/{number}")
def order(number: OwnOrder) -> dict:
    room = f"orders-{number}"
    return {"paid": number in paid, "watching": sorted(watching[room]), "visits": visits[room]}


async def publish(room: str, event: dict) -> str:
    """Says something to everybody in a room. It is in the log when this returns; the event's `id` makes trying again safe."""
    path = f"/api/v1/rooms/{quote(room, safe='')}/events"
    for attempt in range(1, PUBLISH_ATTEMPTS + 1):
        wait = 0.1 * 2**attempt * random.uniform(0.5, 1)
        try:
            answer = await app.state.gateway.post(path, json=event)
            if answer.status_code == 201:
                return answer.json()["offset"]
            failure = answer.text
            # Whatever else is wrong would be wrong again.
            if answer.status_code != 429 and answer.status_code < 500:
                break
            wait = max(wait, float(answer.headers.get("Retry-After", 0)))
        except httpx.TransportError as error:
            # It may have been done: the answer, not the request, may be what was lost.
            failure = repr(error)
        if attempt < PUBLISH_ATTEMPTS:
            await asyncio.sleep(wait)
    raise HTTPException(503, f"the gateway was not told: {failure}")


@app.post("/gateway-hook", status_code=204)
async def hook(request: Request) -> Response:
    body = await request.body()
    if not is_genuine(request.headers.get("X-Gateway-Signature", ""), body):
        raise HTTPException(401, "the signature is not the gateway's")
    for event in json.loads(body)["events"]:
        # A hook comes at least once; its id tells whether it came before.
        if event["id"] in hook_ids:
            continue
        hook_ids[event["id"]] = None
        if len(hook_ids) > HOOK_IDS_KEPT:
            hook_ids.popitem(last=False)
        match event["type"]:
            case "room.joined":
                watching[event["room"]].add(event["user"])
                visits[event["room"]] += 1
            case "room.left":
                watching[event["room"]].discard(event["user"])
    return Response(status_code=204)


def is_genuine(header: str, body: bytes) -> bool:
    """Whether a request is from the gateway, and not one of long ago that somebody sends again."""
    parts = [part.partition("=")[::2] for part in header.split(",")]
    sent = next((value for name, value in parts if name == "t"), "")
    expected = hmac.digest(HOOK_SECRET.encode(), sent.encode() + b"." + body, "sha256").hex()
    # There are several while the secret is changed.
    signatures = [value for name, value in parts if name == "v1"]
    is_signed = any([hmac.compare_digest(expected.encode(), value.encode()) for value in signatures])
    return is_signed and abs(time.time() - int(sent)) < HOOK_MAX_AGE_SECONDS
