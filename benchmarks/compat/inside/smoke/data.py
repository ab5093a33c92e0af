"""What packages are for: texts and records in and out.  See ``README.md``."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from witness import same

if TYPE_CHECKING:
    from collections.abc import Iterator


def lxml() -> Iterator[None]:
    from lxml import etree, html, objectify

    root = etree.fromstring(b"<a><b x='1'>t</b></a>")
    same(root.xpath("//b/@x"), ["1"])
    same(objectify.fromstring(b"<a><b>3</b></a>").b + 1, 4)
    same(html.fromstring("<p>x<br>y</p>").text_content(), "xy")
    style = etree.XSLT(
        etree.fromstring(
            b"<xsl:stylesheet version='1.0' xmlns:xsl='http://www.w3.org/1999/XSL/Transform'>"
            b"<xsl:template match='/'><r><xsl:value-of select='a/b'/></r></xsl:template>"
            b"</xsl:stylesheet>"
        )
    )
    same(style(root).getroot().text, "t")
    yield
    same(etree.tostring(root), b'<a><b x="1">t</b></a>')


def orjson() -> Iterator[None]:
    import datetime

    import orjson

    data = {"a": [1, 2.5, None, "é"], "t": datetime.date(2024, 1, 2)}
    same(orjson.dumps(data), '{"a":[1,2.5,null,"é"],"t":"2024-01-02"}'.encode())
    yield
    same(orjson.loads(b"[1,2]"), [1, 2])


def ujson() -> Iterator[None]:
    import ujson

    same(ujson.loads(ujson.dumps({"a": [1, 2.5, None]})), {"a": [1, 2.5, None]})
    yield
    same(ujson.dumps([1]), "[1]")


def msgpack() -> Iterator[None]:
    import msgpack

    packed = msgpack.packb({"a": [1, 2.5, b"x"]})
    same(msgpack.unpackb(packed), {"a": [1, 2.5, b"x"]})
    same("cmsgpack" in msgpack.Packer.__module__, True)
    yield
    same(msgpack.unpackb(msgpack.packb(msgpack.Timestamp(1, 2))), msgpack.Timestamp(1, 2))


def pyyaml() -> Iterator[None]:
    import yaml

    same(yaml.load("a: [1, 2]", Loader=yaml.CSafeLoader), {"a": [1, 2]})
    yield
    same(yaml.safe_load(yaml.dump({"b": None}, Dumper=yaml.CSafeDumper)), {"b": None})


def regex() -> Iterator[None]:
    import regex

    same(regex.findall(r"\p{Lu}+", "aBCdE"), ["BC", "E"])
    same(regex.fullmatch(r"(?e)(?:cats){e<=1}", "cat") is not None, True)
    yield
    same(regex.sub(r"(?V1)[[a-z]--[aeiou]]", "", "hello"), "eo")


def markupsafe() -> Iterator[None]:
    import markupsafe
    from markupsafe import Markup, escape

    same(str(escape("<a>")), "&lt;a&gt;")
    same("_speedups" in str(getattr(markupsafe, "_escape_inner", escape).__module__), True)
    yield
    same(str(Markup("<b>%s</b>") % "<"), "<b>&lt;</b>")


def protobuf() -> Iterator[None]:
    from google.protobuf import descriptor_pb2, json_format, struct_pb2, timestamp_pb2
    from google.protobuf.internal import api_implementation

    same(api_implementation.Type(), "upb")
    struct = struct_pb2.Struct()
    struct.update({"a": [1, "x", None]})
    copy = struct_pb2.Struct.FromString(struct.SerializeToString())
    same(json_format.MessageToDict(copy), {"a": [1.0, "x", None]})
    file = descriptor_pb2.FileDescriptorProto(name="f.proto")
    same(descriptor_pb2.FileDescriptorProto.FromString(file.SerializeToString()).name, "f.proto")
    yield
    stamp = timestamp_pb2.Timestamp()
    stamp.FromJsonString("2024-01-02T00:00:00Z")
    same(stamp.seconds, 1704153600)


def googleapis_common_protos() -> None:
    from google.api import annotations_pb2, http_pb2
    from google.rpc import status_pb2

    rule = http_pb2.HttpRule(get="/v1")
    same(http_pb2.HttpRule.FromString(rule.SerializeToString()).get, "/v1")
    same(status_pb2.Status(code=5).code, 5)
    same(annotations_pb2.http.number, 72295728)


def proto_plus() -> None:
    from uuid import uuid4

    import proto

    # A name of its own each time: protobuf's pool takes no message twice, plain or not.
    song = type(proto.Message)(
        f"Song{uuid4().hex}",
        (proto.Message,),
        {"title": proto.Field(proto.STRING, number=1), "__module__": __name__},
    )
    same(song.deserialize(song.serialize(song(title="x"))).title, "x")


def pydantic() -> Iterator[None]:
    from typing import List, Optional  # noqa: UP035

    from pydantic import BaseModel, ValidationError

    # At run time both versions of pydantic read the annotations, so they stay objects.
    model = type(
        "Model",
        (BaseModel,),
        {
            "__annotations__": {"a": int, "b": List[float], "c": Optional[str]},  # noqa: UP006, UP045
            "c": None,
            "__module__": __name__,
        },
    )
    same(model(a="3", b=["1.5"]).b, [1.5])
    try:
        model(a="x", b=[])
    except ValidationError as error:
        same(len(error.errors()), 1)
    else:
        raise AssertionError("no ValidationError")
    yield
    same(json.loads(model(a=1, b=[]).json()), {"a": 1, "b": [], "c": None})


def pydantic_core() -> Iterator[None]:
    from pydantic_core import SchemaValidator

    validator = SchemaValidator({"type": "list", "items_schema": {"type": "int"}})
    same(validator.validate_python(["1", 2]), [1, 2])
    yield
    same(validator.validate_json(b"[3]"), [3])


def rpds_py() -> Iterator[None]:
    from rpds import HashTrieMap, List

    mapping = HashTrieMap({"a": 1})
    same(dict(mapping.insert("b", 2)), {"a": 1, "b": 2})
    yield
    same(list(List([1, 2]).push_front(0)), [0, 1, 2])


def jsonschema() -> Iterator[None]:
    import jsonschema

    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    jsonschema.validate({"a": 1}, schema)
    yield
    try:
        jsonschema.validate({"a": "x"}, schema)
    except jsonschema.ValidationError as error:
        same(list(error.path), ["a"])
    else:
        raise AssertionError("no ValidationError")


def sqlalchemy() -> Iterator[None]:
    import sqlalchemy as sa

    engine = sa.create_engine("sqlite://")
    table = sa.Table("t", sa.MetaData(), sa.Column("a", sa.Integer, primary_key=True))
    table.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"a": 1}, {"a": 2}])
        rows = connection.execute(sa.select(sa.func.sum(table.c.a))).scalar()
    same(rows, 3)
    yield
    same(str(sa.and_(table.c.a > 1, table.c.a < 3)), "t.a > :a_1 AND t.a < :a_2")


def simplejson() -> Iterator[None]:
    import decimal

    import simplejson
    from simplejson import encoder

    same(encoder.c_make_encoder is not None, True)
    same(simplejson.dumps({"a": decimal.Decimal("1.10")}), '{"a": 1.10}')
    yield
    same(simplejson.loads("[1.10]", use_decimal=True), [decimal.Decimal("1.10")])


def zope_interface() -> Iterator[None]:
    from zope.interface import Interface, implementer, providedBy

    class IThing(Interface):  # type: ignore[misc]
        pass

    @implementer(IThing)
    class Thing:
        pass

    same(IThing.providedBy(Thing()), True)
    yield
    same(list(providedBy(Thing())), [IThing])


def ruamel_yaml() -> Iterator[None]:
    from ruamel.yaml import YAML

    yaml = YAML()
    stream = io.StringIO()
    yaml.dump(yaml.load("a: 1  # kept\n"), stream)
    same(stream.getvalue(), "a: 1  # kept\n")
    yield
    same(YAML(typ="safe").load("[1]"), [1])
