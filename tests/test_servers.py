"""Web servers on threads and on asyncio: each request in the version that it asks for, all at once.

A little template engine stands for what servers use; tests/integration has the same
with jinja2.
"""

from __future__ import annotations

import asyncio
import importlib
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

import omnipkg_meta as om
from tests.worlds import World, seen, world_fixture  # noqa: F401  # a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUESTS = 200
VERSIONS = ("1.0", "2.0", "3.0", "main")
#: Seconds after which a meeting of requests has failed.
PATIENCE = 120

FILES = {
    "ENGINE/__init__.py": """
        __version__ = "VERSION"


        class Template:
            def __init__(self, text):
                self.text = text

            def render(self, **values):
                from ENGINE.filters import fill

                return fill(self.text, values)
    """,
    "ENGINE/filters.py": """
        def fill(text, values):
            import ENGINE

            return text.format(version=ENGINE.__version__, **values)
    """,
}

#: The user's own code, which both servers call.
APPLICATION = """
    import sys
    from importlib import metadata


    def template():
        from ENGINE import Template

        return Template("{version} for {name}")


    def look():
        import ENGINE

        assert sys.modules["ENGINE"] is ENGINE
        return [ENGINE.__version__, metadata.version("ENGINE"), ENGINE.__file__]
"""


class Site:
    """What a request is answered with."""

    def __init__(self, world: World) -> None:
        self.engine = world.name("engine")
        files = {path.replace("ENGINE", self.engine): text for path, text in FILES.items()}
        files = {path: text.replace("ENGINE", self.engine) for path, text in files.items()}
        bubbles = world.versions(self.engine, *VERSIONS[:-1], main="0.5", files=files)
        self.places = dict(
            zip(
                VERSIONS,
                [*(str(one.site_packages) for one in bubbles), str(world.main)],
                strict=True,
            )
        )
        application = world.name("application")
        world.module(application, APPLICATION.replace("ENGINE", self.engine))
        self.application: Any = importlib.import_module(application)

    def scope(self, version: str) -> Any:
        return om.use(om.main if version == "main" else f"{self.engine}=={version}")

    def says(self, path: str) -> str:
        """Return what the answer to a request has to be."""
        _, version, name = path.split("/")
        release = "0.5" if version == "main" else version
        place = self.places[version]
        return "\n".join(
            [f"{release} for {name}", release, release, f"{place}/{self.engine}/__init__.py"]
        )


@pytest.fixture
def site(world: World) -> Site:
    """Three versions in bubbles, and another one in main."""
    return Site(world)


PATHS = [f"/{VERSIONS[number % len(VERSIONS)]}/{number}" for number in range(REQUESTS)]


def get(port: int, path: str) -> str:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        return text
    finally:
        connection.close()


def ask(port: int) -> dict[str, str]:
    """Make all requests at once, and return the answer to each."""
    with ThreadPoolExecutor(REQUESTS) as pool:
        return dict(zip(PATHS, pool.map(lambda path: get(port, path), PATHS), strict=True))


class Server(ThreadingHTTPServer):
    """A thread for each request."""

    request_queue_size = REQUESTS
    daemon_threads = True


@pytest.fixture
def serve() -> Iterator[Any]:
    """Run servers on threads; they end with the test."""
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> int:
        server = Server(("127.0.0.1", 0), handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        servers.append((server, thread))
        return int(server.server_port)

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_server_on_threads_answers_each_request_in_its_version(site: Site, serve: Any) -> None:
    barrier = threading.Barrier(REQUESTS, timeout=PATIENCE)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            _, version, name = self.path.split("/")
            try:
                with site.scope(version):
                    template = site.application.template()
                    barrier.wait()  # all of them are in their scopes now
                    looked = site.application.look()
                # It is rendered after the scope, as it often is.
                status, text = 200, "\n".join([template.render(name=name), *looked])
            except Exception as error:  # noqa: BLE001  # the client tells it
                barrier.abort()
                status, text = 500, repr(error)
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    assert ask(serve(Handler)) == {path: site.says(path) for path in PATHS}
    assert seen(site.engine) == "0.5"


def test_a_server_of_asyncio_answers_each_request_in_its_version(site: Site) -> None:
    """A minimal server for a minimal ASGI application."""
    arrived: list[str] = []
    everybody = asyncio.Event()

    async def application(scope: dict[str, Any], send: Any) -> None:
        _, version, name = scope["path"].split("/")
        async with site.scope(version):
            template = site.application.template()
            arrived.append(version)
            if len(arrived) == REQUESTS:
                everybody.set()
            await everybody.wait()  # all of them are in their scopes now
            looked = site.application.look()
            # In a thread of asyncio's, which takes the context along.
            again = await asyncio.to_thread(site.application.look)
            assert again == looked
        text = "\n".join([template.render(name=name), *looked])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body", "body": text.encode()})

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line, *_ = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                writer.write(f"HTTP/1.0 {message['status']} OK\r\n\r\n".encode())
            else:
                writer.write(message["body"])
                await writer.drain()

        try:
            await application({"type": "http", "path": line.split()[1]}, send)
        finally:
            writer.close()

    async def main() -> dict[str, str]:
        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=REQUESTS)
        port = server.sockets[0].getsockname()[1]
        # The clients are threads of their own, not the loop's, whose executor is small.
        with ThreadPoolExecutor(1) as pool:
            answers = await asyncio.get_running_loop().run_in_executor(pool, ask, port)
        server.close()
        await server.wait_closed()
        return answers

    assert asyncio.run(main()) == {path: site.says(path) for path in PATHS}
    assert seen(site.engine) == "0.5"
    assert metadata.version(site.engine) == "0.5"
