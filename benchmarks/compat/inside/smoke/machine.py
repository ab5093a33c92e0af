"""What packages are for: the network, keys and the machine.  See ``README.md``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from witness import same

if TYPE_CHECKING:
    from collections.abc import Iterator


def grpcio() -> Iterator[None]:
    from concurrent.futures import ThreadPoolExecutor

    import grpc

    class Echo(grpc.GenericRpcHandler):
        def service(self, details: object) -> object:
            del details
            return grpc.unary_unary_rpc_method_handler(lambda request, _context: request[::-1])

    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        same(channel.unary_unary("/s/m")(b"abc", timeout=30), b"cba")
    server.stop(None).wait()
    yield
    same(grpc.StatusCode.NOT_FOUND.value[0], 5)


def grpcio_status() -> None:
    from google.rpc import status_pb2
    from grpc_status import rpc_status

    same(rpc_status.to_status(status_pb2.Status(code=5, message="x")).details, "x")


def cryptography() -> Iterator[None]:
    from cryptography.fernet import Fernet
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    fernet = Fernet(Fernet.generate_key())
    same(fernet.decrypt(fernet.encrypt(b"x")), b"x")
    key = ec.generate_private_key(ec.SECP256R1())
    signature = key.sign(b"data", ec.ECDSA(hashes.SHA256()))
    key.public_key().verify(signature, b"data", ec.ECDSA(hashes.SHA256()))
    yield
    digest = hashes.Hash(hashes.SHA256())
    digest.update(b"abc")
    same(digest.finalize().hex()[:8], "ba7816bf")


def bcrypt() -> Iterator[None]:
    import bcrypt

    hashed = bcrypt.hashpw(b"secret", bcrypt.gensalt(4))
    same(bcrypt.checkpw(b"secret", hashed), True)
    yield
    same(bcrypt.checkpw(b"other", hashed), False)


def cffi() -> Iterator[None]:
    import cffi

    ffi = cffi.FFI()
    ffi.cdef("int abs(int); typedef struct { int x; } point;")
    same(ffi.dlopen(None).abs(-3), 3)
    callback = ffi.callback("int(int)", lambda x: x + 1)
    same(callback(2), 3)
    yield
    same(ffi.new("point *", {"x": 5}).x, 5)


def psutil() -> Iterator[None]:
    import os

    import psutil

    process = psutil.Process()
    same(process.pid, os.getpid())
    same(psutil.virtual_memory().total > 0, True)
    yield
    same(process.memory_info().rss > 0, True)


def aiohttp() -> Iterator[None]:
    import asyncio

    from aiohttp import ClientSession, web

    async def serve() -> str:
        async def hello(_request: object) -> object:
            return web.json_response({"a": 1})

        app = web.Application()
        app.router.add_get("/", hello)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = runner.addresses[0][1]
        async with (
            ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/") as response,
        ):
            text = await response.text()
        await runner.cleanup()
        return str(text)

    same(asyncio.run(serve()), '{"a": 1}')
    yield
    same(asyncio.run(serve()), '{"a": 1}')


def multidict() -> Iterator[None]:
    from multidict import CIMultiDict, MultiDict

    same(MultiDict([("a", 1), ("a", 2)]).getall("a"), [1, 2])
    yield
    same(CIMultiDict(A=1)["a"], 1)


def frozenlist() -> Iterator[None]:
    from frozenlist import FrozenList

    values = FrozenList([1, 2])
    values.freeze()
    same(list(values), [1, 2])
    yield
    same(hash(values) == hash(values), True)


def propcache() -> Iterator[None]:
    from propcache.api import cached_property

    class Thing:
        @cached_property
        def value(self) -> list[int]:
            return [1]

    thing = Thing()
    same(thing.value is thing.value, True)
    yield
    same(thing.value, [1])


def yarl() -> Iterator[None]:
    from yarl import URL

    same(str(URL("http://a.b/c") / "d é"), "http://a.b/c/d%20%C3%A9")
    yield
    same(URL("http://a.b/?x=1").query["x"], "1")


def websockets() -> Iterator[None]:
    from websockets.frames import apply_mask
    from websockets.speedups import apply_mask as fast

    same(fast(b"abcd", b"1234"), bytes(a ^ b for a, b in zip(b"abcd", b"1234", strict=True)))
    yield
    same(apply_mask(fast(b"abcd", b"1234"), b"1234"), b"abcd")


def watchfiles() -> None:
    from watchfiles import watch
    from watchfiles._rust_notify import RustNotify

    with tempfile.TemporaryDirectory() as folder:
        watcher = RustNotify([folder], False, False, 100, True, True)
        with watcher:
            (Path(folder) / "new").write_text("x")
            found = watcher.watch(50, 50, 20000, None)
        same({path for _, path in found}, {str(Path(folder) / "new")})
    same(callable(watch), True)


def wrapt() -> Iterator[None]:
    import wrapt

    @wrapt.decorator
    def twice(wrapped, _instance, args, kwargs):
        return 2 * wrapped(*args, **kwargs)

    @twice
    def three() -> int:
        return 3

    same(three(), 6)
    yield
    same(wrapt.ObjectProxy([1, 2]) + [3], [1, 2, 3])  # noqa: RUF005  (the proxy's own method)


def charset_normalizer() -> Iterator[None]:
    from charset_normalizer import from_bytes

    text = "Всеки човек има право на образование." * 3
    same(str(from_bytes(text.encode("utf-8")).best()), text)
    yield
    same(from_bytes(b"plain ascii").best().encoding, "ascii")


def urllib3() -> Iterator[None]:
    import urllib3

    same(urllib3.util.parse_url("http://a:80/b").port, 80)
    yield
    same(urllib3.PoolManager().connection_from_url("http://a/").host, "a")


def requests() -> Iterator[None]:
    import requests

    prepared = requests.Request("GET", "http://a/", params={"x": "é"}).prepare()
    same(prepared.url, "http://a/?x=%C3%A9")
    yield
    try:
        requests.get("http://127.0.0.1:1/", timeout=5)
    except requests.ConnectionError:
        pass
    else:
        raise AssertionError("no ConnectionError")


def botocore() -> Iterator[None]:
    import botocore.session

    session = botocore.session.Session()
    session.set_credentials("a", "b")
    client = session.create_client("sts", region_name="us-east-1")
    same(client.meta.service_model.service_name, "sts")
    yield
    url = client.generate_presigned_url("get_caller_identity")
    same("X-Amz-Signature" in url or "Signature=" in url, True)


def boto3() -> None:
    import boto3

    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    same("get_object" in dir(client), True)


def greenlet() -> Iterator[None]:

    def body(value: int) -> int:
        return greenlet.getcurrent().parent.switch(value + 1) * 2

    first = greenlet.greenlet(body)
    same(first.switch(1), 2)
    same(first.switch(5), 10)
    yield
    same(greenlet.greenlet(lambda: 3).switch(), 3)


def tornado() -> Iterator[None]:
    from tornado.ioloop import IOLoop
    from tornado.speedups import websocket_mask
    from tornado.template import Template

    async def three() -> int:
        return 3

    same(IOLoop(make_current=False).run_sync(three), 3)
    same(
        websocket_mask(b"1234", b"abcd"),
        bytes(a ^ b for a, b in zip(b"abcd", b"1234", strict=True)),
    )
    yield
    same(Template("{{ x }}").generate(x=1), b"1")
