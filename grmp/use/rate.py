"""``grmp rate``: a local page that shows images one at a time, and the ratings that it collects.

The scale is the five-grade scale of ITU-R BT.500. Every rating is saved to ``votes.csv`` beside the images at once: ``image,
rater, mos, repeat, time``, and columns of the user's own. A skipped image is a row without a rating. `grmp train` reads this
file.
"""

import csv
import hashlib
import io
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from filelock import FileLock, Timeout
from PIL import Image
from pydantic import BaseModel, Field
from starlette.middleware.trustedhost import TrustedHostMiddleware

from grmp.data import decode, tables
from grmp.data.custom import locate
from grmp.data.find import find, for_table, tally
from grmp.errors import UserError, one_line
from grmp.files import write_text
from grmp.metrics import srcc

VOTES = "votes.csv"
LOCK = f".{VOTES}.lock"
COLUMNS = ["image", "rater", "mos", "repeat", "time"]
REPEATS = 0.1  # share of the images that each rater sees a second time
FEWEST_REPEATS = 3
HOSTS = ["127.0.0.1", "localhost"]


class Vote(BaseModel):
    """What the page sends."""

    rater: Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f,\"]+$")]
    position: Annotated[int, Field(ge=0)]
    image: str  # that is shown: images may have been added since, and the page be still open
    rating: Annotated[int, Field(ge=1, le=5)] | None  # None: skipped


class Session:
    """Images, who has rated what, and the file that keeps it."""

    def __init__(self, folder: Path) -> None:
        """The images of ``folder/ratings.csv`` if it is there (`grmp select` writes it), else all below the folder."""
        check(folder)
        listed = folder / "ratings.csv"
        self.folder, self.file, self.lock = folder, folder / VOTES, threading.Lock()
        paths = find([folder], left_out := Counter[str]())
        known = {path.resolve(): path.relative_to(folder).as_posix() for path in paths}
        chosen = locate(listed, tables.read(listed, ("image",))["image"].tolist()) if listed.is_file() else list(known)
        if missing := [path for path in chosen if path not in known]:
            raise UserError(f"{listed}: {missing[0]} is not an image below {folder} ({len(missing)} such rows)")
        self.names = for_table([known[path] for path in chosen])
        if not self.names:
            raise UserError(f"{listed} names no images; add some, or delete it to rate all below {folder}")
        left_out -= Counter(kind for name, kind in ((VOTES, ".csv"), (LOCK, "hidden")) if (folder / name).is_file())
        self.left_out = "" if listed.is_file() else tally(left_out)
        self.votes, self.state = pd.DataFrame(columns=COLUMNS), self._state()
        if self.state:
            found = tables.read(self.file, COLUMNS[:3])
            found["mos"] = tables.numbers(self.file, found[found["mos"] != ""], "mos")
            own = [name for name in found if name not in COLUMNS]
            if twice := found.columns[found.columns.duplicated()].tolist():
                raise UserError(f"{self.file}: two columns are called '{twice[0]}'; rename one")
            lines = self.file.read_text(encoding="utf-8-sig", errors="replace").splitlines()  # `found` is in lower case
            cells = next(csv.reader(lines, delimiter=found.attrs["separator"], skipinitialspace=True), [])
            written = {cell.strip().lower(): cell.strip() for cell in cells}
            found = found.reset_index(drop=True).reindex(columns=[*COLUMNS, *own], fill_value="")
            found["repeat"] = pd.to_numeric(found["repeat"], errors="coerce").fillna(0).astype(int)
            self.votes = found.rename(columns={name: written.get(name, name) for name in own})

    def schedule(self, rater: str) -> list[tuple[str, int]]:
        """(image, 0 or 1 for a repeat): what this rater has seen, then the rest in an order that depends on the name alone."""
        rng = np.random.default_rng(list(hashlib.sha256(rater.encode()).digest()))
        order = [self.names[i] for i in rng.permutation(len(self.names))]
        count = min(max(FEWEST_REPEATS, round(REPEATS * len(order))), len(order) // 2)
        again = [order[i] for i in rng.permutation(len(order) // 2)[:count]]  # of the first half: far apart
        mine = self.votes[self.votes["rater"] == rater]
        seen = list(zip(mine["image"], mine["repeat"].astype(int), strict=True))  # also where images were added since
        rest, done = [*((name, 0) for name in order), *((name, 1) for name in again)], set(seen)
        return seen + [one for one in rest if one not in done]

    def position(self, rater: str) -> int:
        """How many images this rater has seen."""
        return int((self.votes["rater"] == rater).sum())

    def add(self, vote: Vote) -> None:
        """Keep a rating. Raises ValueError if it is not for the image that this rater sees now."""
        with self.lock:
            plan, at = self.schedule(vote.rater), self.position(vote.rater)
            if vote.position != at or at >= len(plan) or plan[at][0] != vote.image:
                raise ValueError("this image is rated already, or another one is to be rated now")
            name, repeat = plan[at]
            mos = np.nan if vote.rating is None else float(vote.rating)
            row = dict(zip(COLUMNS, (name, vote.rater, mos, repeat, time.strftime("%Y-%m-%dT%H:%M:%S")), strict=True))
            votes = self.votes.copy()
            votes.loc[len(votes)] = [row.get(column, "") for column in votes]
            self._save(votes)

    def undo(self, rater: str) -> None:
        """Forget the last rating of this rater, if there is one."""
        with self.lock:
            mine = self.votes.index[self.votes["rater"] == rater]
            if len(mine):
                self._save(self.votes.drop(mine[-1]).reset_index(drop=True))

    def _save(self, votes: pd.DataFrame) -> None:
        """Write the table, and only then use it. Raises UserError if it cannot be written, or was changed elsewhere."""
        if self.state != self._state():
            raise UserError(f"{self.file} was changed elsewhere; end grmp rate with Ctrl-C and start it again")
        write_text(self.file, votes.to_csv(index=False, float_format="%g", lineterminator="\n"))
        self.votes, self.state = votes, self._state()

    def _state(self) -> tuple[int, int] | None:
        """What changes whenever somebody writes the file; None if it is not there."""
        return ((now := self.file.stat()).st_mtime_ns, now.st_size) if self.file.is_file() else None

    def results(self) -> dict[str, Any]:
        """MOS of each image as `grmp train` reads it, and how well each rater agrees with the others and with themselves."""
        rated = self.votes.dropna(subset="mos").astype({"mos": float})
        first = rated[rated["repeat"] == 0].pivot_table(index="image", columns="rater", values="mos")
        again = rated[rated["repeat"] == 1].pivot_table(index="image", columns="rater", values="mos")
        raters = {}
        for name in first.columns:
            both = pd.concat([first[name], first.drop(columns=name).mean(axis=1)], axis=1).dropna()
            agreement = srcc(both.iloc[:, 0], both.iloc[:, 1])[0]
            apart = (first[name] - again[name]).abs().dropna() if name in again else pd.Series(dtype=float)
            raters[name] = {
                "rated": int(first[name].notna().sum()),
                "agreement": None if np.isnan(agreement) else round(agreement, 3),
                "repeats": len(apart),
                "mean_difference_of_repeats": round(float(apart.mean()), 2) if len(apart) else None,
            }
        each = rated.groupby(["image", "rater"])["mos"].mean().groupby("image").mean()
        mos = {name: round(float(value), 3) for name, value in each.items()}
        return {"images": len(self.names), "raters": raters, "mos": mos}

    def text(self) -> str:
        """``results`` in lines."""
        found = self.results()
        lines = [f"{len(found['mos'])} of {found['images']} images rated by {len(found['raters'])} raters: {self.file}"]
        for name, r in found["raters"].items():
            line = f"{name}: {r['rated']} images"
            line += f", SRCC with the others {r['agreement']:.2f}" if r["agreement"] is not None else ""
            line += f", {r['repeats']} repeats differ by {r['mean_difference_of_repeats']:.2f}" if r["repeats"] else ""
            lines.append(line)
        return "\n".join(lines)


def check(folder: Path) -> None:
    """Raises UserError if it is no folder."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder; name the folder of the images")


def application(session: Session) -> FastAPI:
    """The page and its four requests; it answers under names of this machine alone."""
    app = FastAPI(title="grmp rate", docs_url=None, redoc_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=HOSTS)
    page = Path(__file__).with_name("rate.html").read_text(encoding="utf-8")
    places = {name: i for i, name in enumerate(session.names)}
    start = time.time_ns()  # in the address of an image: a browser keeps those of an earlier session, with other images

    def address(name: str) -> str:
        return f"/image/{places[name]}?{start}"

    @app.exception_handler(UserError)
    def unsaved(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 507)

    @app.get("/", response_class=HTMLResponse)
    def show() -> str:
        return page

    @app.get("/next")
    def following(rater: str) -> dict[str, Any]:
        with session.lock:
            plan, at = session.schedule(rater), session.position(rater)
        coming = [name for name, _ in plan[at : at + 2]]
        now = {"image": coming[0], "address": address(coming[0])} if coming else {"image": None}
        return {"position": at, "total": len(plan), **now, "ahead": [address(name) for name in coming[1:]]}

    @app.get("/image/{number}")
    def image(number: int) -> Response:
        if not 0 <= number < len(session.names):
            raise HTTPException(404)
        return _shown(session.folder / session.names[number])

    @app.post("/vote")
    def vote(given: Vote) -> dict[str, Any]:
        try:
            session.add(given)
        except ValueError as error:
            raise HTTPException(409, str(error)) from None
        return following(given.rater)

    @app.post("/undo")
    def undo(rater: str) -> dict[str, Any]:
        session.undo(rater)
        return following(rater)

    return app


def _shown(path: Path) -> Response:
    """The file, or a PNG of what is scored where a browser would show nothing or move."""
    with suppress(*decode.FAULTS), Image.open(path, formats=decode.FORMATS) as opened:
        moves = opened.format != "MPO" and getattr(opened, "is_animated", False)  # an MPO is a JPEG to browsers
        if moves or opened.format in ("TIFF", "HEIF"):
            data = io.BytesIO()
            decode.load(path, displayed=True).save(data, "PNG", icc_profile=None)  # it is in sRGB now
            return Response(data.getvalue(), media_type="image/png")
    return FileResponse(path)


def serve(folder: Path, port: int) -> str:
    """Serve the page on the loopback interface until Ctrl-C; returns ``Session.text``."""
    from grmp.use.serve import listen

    check(folder)  # a lock would make it
    try:  # a second session would overwrite the ratings of the first
        held = FileLock(folder / LOCK, fallback_to_soft=False)
        held.acquire(timeout=0)
    except Timeout:
        raise UserError(f"{folder} is being rated by another grmp rate; open its page, or end it first") from None
    except (OSError, NotImplementedError) as error:
        raise UserError(f"cannot lock {folder}: {one_line(error)}; it must be writable, with file locks") from None
    with held:
        session = Session(folder)
        if session.left_out:
            print(session.left_out, file=sys.stderr)
        listen(
            application(session), "127.0.0.1", port, f"rate {len(session.names)} images at {{}}", log_level="warning"
        )
        return session.text()
