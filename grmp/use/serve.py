"""``grmp serve``: POST an image, get its score. One process; images wait their turn, none is lost."""

import asyncio
import errno
import math
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import uvicorn
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from grmp.data import decode
from grmp.device import cpus
from grmp.errors import UserError
from grmp.finetune.scorer import QualityModel
from grmp.finetune.trust import LEVEL

LARGEST = 32 << 20  # bytes of a request
MOST_PIXELS = 64_000_000  # of a decoded image
PATIENCE = 60  # seconds in which a request has to arrive
IN_MEMORY = 16  # requests that are read or scored at the same time; the others wait in their sockets


class Score(BaseModel):
    """What `grmp score` prints of an image."""

    quality: float = Field(description="in [0, 1], higher is better")
    percentile: float | None = Field(description="share of the known images that score less, in percent")
    predicted_rating: float = Field(description="quality on the scale of the ratings")
    low: float | None = Field(description=f"lower end of the {LEVEL:.0%} interval of the rating")
    high: float | None = Field(description="upper end of the interval")
    model: str = Field(description="the first digits of the model's sha256")


def service(model: QualityModel) -> FastAPI:
    """The application; its OpenAPI description is at /openapi.json, a page to try it at /docs."""
    api = FastAPI(title="grmp", description="Perceived quality of images.")
    turns, pool = asyncio.Semaphore(IN_MEMORY), ThreadPoolExecutor(cpus())
    body = {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}

    @api.post("/score", openapi_extra={"requestBody": body}, responses={413: {}, 422: {}})
    async def score(request: Request) -> Score:
        """Score the image in the body of the request: the bytes of a file, without a form around them."""
        async with turns:
            data = bytearray()
            try:
                async with asyncio.timeout(PATIENCE):
                    async for part in request.stream():
                        data += part
                        if len(data) > LARGEST:
                            raise HTTPException(413, f"the image has more than {LARGEST >> 20} MB")
            except TimeoutError:
                raise HTTPException(408, f"the image did not arrive within {PATIENCE} s") from None
            except ClientDisconnect:
                raise HTTPException(400, "the client has disconnected") from None
            return await asyncio.get_running_loop().run_in_executor(pool, _score, model, bytes(data))

    return api


def _score(model: QualityModel, data: bytes) -> Score:
    try:
        image = decode.load(data, displayed=True, most=MOST_PIXELS)
    except decode.TooLarge:
        raise HTTPException(413, f"the image has more than {MOST_PIXELS // 1_000_000} million pixels") from None
    except decode.FAULTS as error:
        raise HTTPException(422, decode.why(error)) from None
    ((quality, reason),) = model.rated([model.prepare(image)])
    if reason:
        raise HTTPException(422, reason)
    values = {name: float(column[0]) for name, column in model.judge(quality).items()}
    return Score(
        **{name: value if math.isfinite(value) else None for name, value in values.items()},  # type: ignore[arg-type]
        model=model.card["sha256"][:12],
    )


def listen(api: FastAPI, host: str, port: int, what: str, log_level: str = "info") -> None:
    """Print ``what``, in which {} stands for the address, and answer requests until Ctrl-C.

    Raises UserError if ``host`` is not an address of this machine, or ``port`` is taken.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        reason = str(error.strerror).split(" (")[0]
        option = "--port" if error.errno in (errno.EADDRINUSE, errno.EACCES) else "--host"
        raise UserError(f"cannot listen at {host}, port {port}: {reason}; choose another with {option}") from None
    name = f"[{host}]" if ":" in host else host
    print(f"{what.format(f'http://{name}:{listening.getsockname()[1]}')} (Ctrl-C ends)", flush=True)
    with suppress(KeyboardInterrupt):
        uvicorn.Server(uvicorn.Config(api, host=host, port=port, log_level=log_level)).run(sockets=[listening])
