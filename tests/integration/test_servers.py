"""jinja2 in three versions behind web servers, on threads and on asyncio, and main's beside them.

The template itself asks jinja2 for its version and its file: code that jinja2 has
compiled, which asks when it is rendered, after the scope.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import BARE, Scene, once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Program

pytestmark = pytest.mark.world

VERSIONS = ("3.0.3", "3.1.2", "3.1.4")


@pytest.fixture(scope="module")
def jinja(_builder_cache: Path) -> Iterator[Scene]:
    """A main environment with another jinja2, and a bubble of each version."""
    scene = Scene(_builder_cache.parent / "jinja", _builder_cache)
    bubbles = [(f"jinja2=={version}",) for version in VERSIONS]
    once(scene.path, lambda: scene.build((*BARE, "jinja2>=3.1.5"), bubbles))
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


START = """
    import asyncio, json, sys, threading
    from concurrent.futures import ThreadPoolExecutor
    from http.client import HTTPConnection
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from importlib import metadata

    import jinja2
    import omnipkg_meta as om

    REQUESTS, PATIENCE = 200, 120
    VERSIONS = [*sys.argv[1:], "main"]
    PATHS = [f"/{VERSIONS[number % len(VERSIONS)]}/{number}" for number in range(REQUESTS)]
    OWN = metadata.version("jinja2")
    # What jinja2 gives each template leads to its own module, and to the import function.
    TEMPLATE = (
        "{{ name }} {{ cycler.__init__.__globals__.__file__ }} "
        "{{ cycler.__init__.__globals__.__builtins__.__import__('jinja2').__version__ }}"
    )

    def scope(version):
        return om.use(om.main if version == "main" else f"jinja2=={version}")

    def template():
        from jinja2 import Environment
        return Environment(autoescape=True).from_string(TEMPLATE)

    def look():
        import jinja2
        assert sys.modules["jinja2"] is jinja2
        return [jinja2.__version__, metadata.version("jinja2"), jinja2.__file__]

    def answer(name, made, looked):
        return json.dumps([made.render(name=name).split(), looked])

    def get(port, path):
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", path)
        got = connection.getresponse()
        body = got.read()
        connection.close()
        assert got.status == 200, body
        return json.loads(body)

    def ask(port):
        with ThreadPoolExecutor(REQUESTS) as pool:
            return list(zip(PATHS, pool.map(lambda path: get(port, path), PATHS)))

    def check(answers):
        files = {}
        for path, ((name, file, rendered), (imported, installed, package)) in answers:
            _, version, number = path.split("/")
            expected = OWN if version == "main" else version
            assert name == number
            assert [rendered, imported, installed] == [expected] * 3, path
            assert file == package.replace("__init__", "utils")
            assert version == "main" or f"jinja2-{version}-" in file
            files.setdefault(version, set()).add(file)
        assert jinja2.__version__ == metadata.version("jinja2") == OWN
        print(json.dumps([len(answers), {version: len(each) for version, each in files.items()}]))
"""

THREADS = """
    barrier = threading.Barrier(REQUESTS, timeout=PATIENCE)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            _, version, name = self.path.split("/")
            try:
                with scope(version):
                    made = template()
                    barrier.wait()
                    looked = look()
                status, body = 200, answer(name, made, looked).encode()
            except Exception as error:
                barrier.abort()
                status, body = 500, repr(error).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer.request_queue_size = REQUESTS
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        answers = ask(server.server_port)
        server.shutdown()
        thread.join()
    check(answers)
"""

ASYNCIO = """
    arrived, everybody = [], asyncio.Event()

    async def connected(reader, writer):
        line, *_ = (await reader.readuntil(b"\\r\\n\\r\\n")).decode().splitlines()
        _, version, name = line.split()[1].split("/")
        async with scope(version):
            made = template()
            arrived.append(name)
            if len(arrived) == REQUESTS:
                everybody.set()
            await everybody.wait()
            looked = look()
            assert await asyncio.to_thread(look) == looked
        writer.write(b"HTTP/1.0 200 OK\\r\\n\\r\\n" + answer(name, made, looked).encode())
        await writer.drain()
        writer.close()

    async def main():
        server = await asyncio.start_server(connected, "127.0.0.1", 0, backlog=REQUESTS)
        port = server.sockets[0].getsockname()[1]
        with ThreadPoolExecutor(1) as pool:
            answers = await asyncio.get_running_loop().run_in_executor(pool, ask, port)
        server.close()
        await server.wait_closed()
        return answers

    check(asyncio.run(main()))
"""


@pytest.mark.parametrize("server", [THREADS, ASYNCIO], ids=["threads", "asyncio"])
def test_each_of_200_requests_at_once_is_rendered_by_its_version(
    jinja: Scene, program: Program, server: str
) -> None:
    script = program(START, server)
    each = dict.fromkeys((*VERSIONS, "main"), 1)
    # Without -X dev, in which asyncio tells what is slow.
    assert jinja.answer(script, *VERSIONS, flags=("-W", "error")) == [200, each]
