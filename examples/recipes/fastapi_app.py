"""FastAPI: a dependency puts one route into a scope; the other routes do not notice.

``python fastapi_app.py`` asks both routes, several times at once, and prints what they said.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from importlib.metadata import version

import httpx
import jinja2
from fastapi import Depends, FastAPI

import omnipkg_meta as om

app = FastAPI()


async def legacy() -> AsyncIterator[None]:
    """Put the route that depends on it into the scope of the old templates' jinja2.

    It has to be ``async``: FastAPI runs other generators in a thread, in a context of
    their own, and what they enter there ends there.
    """
    async with om.use("jinja2==3.0.*"):
        yield


@app.get("/old/{name}", dependencies=[Depends(legacy)])
async def old(name: str) -> list[str]:
    """Answer as ever, with the jinja2 that the old templates were written for."""
    from jinja2 import Template

    await asyncio.sleep(0)  # others run meanwhile
    return [Template("Hello {{ name }}!").render(name=name), version("jinja2")]


@app.get("/old-in-a-thread/{name}", dependencies=[Depends(legacy)])
def old_in_a_thread(name: str) -> list[str]:
    """Answer the same way: FastAPI takes the context along to the thread."""
    from jinja2 import Template

    return [Template("Hello {{ name }}!").render(name=name), version("jinja2")]


@app.get("/new/{name}")
async def new(name: str) -> list[str]:
    """Answer with the jinja2 that is installed."""
    return [jinja2.Template("Hello {{ name }}!").render(name=name), version("jinja2")]


async def main() -> None:
    """Ask all routes at once."""
    paths = [
        f"/{route}/{number}" for number in range(5) for route in ("old", "old-in-a-thread", "new")
    ]
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://app") as client:
        answers = await asyncio.gather(*map(client.get, paths))
    told = {path: answer.json() for path, answer in zip(paths, answers, strict=True)}
    print(json.dumps({"answers": told, "after": version("jinja2")}))


if __name__ == "__main__":
    asyncio.run(main())
