"""Awkward pure-Python packages of the index: two versions each, and another one in main."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests.integration.scene import BARE, Scene, once

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.conftest import Program

pytestmark = pytest.mark.world

#: Two older versions of each, by what their project calls them.
VERSIONS = {
    # Before 1.16 its finder knows nothing of specs, which Python 3.12 wants.
    "six": ("1.15.0", "1.16.0") if sys.version_info < (3, 12) else ("1.16.0", "1.17.0"),
    "zope.interface": ("6.1" if sys.version_info < (3, 13) else "7.1.0", "8.0"),
    "protobuf": ("4.25.8", "5.29.5"),
    "Django": ("4.2.20", "5.1.7"),
    "setuptools": ("69.5.1", "75.8.0"),
    **({"SQLAlchemy": ("1.4.54", "2.0.38")} if sys.version_info < (3, 13) else {}),
    "attrs": ("22.2.0", "25.1.0"),
    "jinja2": ("3.0.3", "3.1.5"),
    "click": ("7.1.2", "8.1.8"),
    "requests": ("2.28.2", "2.32.3"),
    "joblib": ("1.4.2", "1.5.1"),
}
#: What stands beside a requirement in its bubble.
BESIDE = {"2.28.2": ("urllib3==1.26.20",), "2.32.3": ("urllib3==2.3.0",)}
MAIN = (
    *BARE,
    *(f"{name}!={first},!={second}" for name, (first, second) in VERSIONS.items()),
    "zope.event",
    "googleapis-common-protos",
    "beartype",
    "coverage",
    "pytest",
    "typeguard",
)


@pytest.fixture(scope="module")
def awkward(_builder_cache: Path) -> Iterator[Scene]:
    """A main environment and a store of these packages, made once for all workers."""
    scene = Scene(_builder_cache.parent / "awkward", _builder_cache)
    bubbles = [
        (f"{name}=={version}", *BESIDE.get(version, ()))
        for name, versions in VERSIONS.items()
        for version in versions
    ]
    once(scene.path, lambda: scene.build(MAIN, bubbles))
    yield scene
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(scene.path, ignore_errors=True)


#: Looks at a package in two bubbles and in main: in a thread each, then again in this
#: one.  ``look(version)`` is the test's own; it returns what has to be different.
START = """
    import importlib, json, sys, threading, traceback
    from importlib import metadata
    import omnipkg_meta as om

    NAME, *VERSIONS = sys.argv[1:]
    results, barrier = {}, threading.Barrier(3, timeout=60)
    # These redirect or replace, as they work, what is one in a process: the standard
    # output, distutils.
    in_turn = NAME in ("click", "setuptools")

    def run(version, *, meet):
        try:
            with om.use(om.main if version == "main" else f"{NAME}=={version}"):
                if meet:
                    barrier.wait()
                installed = metadata.version(NAME)
                assert version in ("main", installed), installed
                assert version != "main" or installed not in VERSIONS
                results.setdefault(version, []).append(look(installed))
        except BaseException:
            traceback.print_exc()

    def main():
        sources = [*VERSIONS, "main"]
        threads = [
            threading.Thread(target=run, args=(one,), kwargs={"meet": not in_turn})
            for one in sources
        ]
        for thread in threads:
            thread.start()
            if in_turn:
                thread.join()
        for thread in threads:
            thread.join()
        for one in sources:
            run(one, meet=False)
        same = all(first is second for first, second in results.values())
        print(json.dumps([same, len({id(first) for first, _ in results.values()})]))
    """

LOOKS = {
    "joblib": """
        def work(number):
            import joblib
            return number * number, joblib.__version__

        def look(version):
            import joblib
            assert joblib.__version__ == version
            jobs = (joblib.delayed(work)(number) for number in range(4))
            seen = joblib.Parallel(n_jobs=2)(jobs)  # in processes
            assert seen == [(0, version), (1, version), (4, version), (9, version)], seen
            return joblib
        """,
    "six": """
        def look(version):
            import six
            from six.moves import urllib, range, queue
            from six.moves.urllib.parse import quote
            import six.moves.http_client, six.moves.configparser
            assert six.__version__ == version
            assert quote("a b") == "a%20b"
            assert six.moves is sys.modules["six.moves"]
            assert urllib is sys.modules["six.moves.urllib"]
            return six.moves
        """,
    "zope.interface": """
        def look(version):
            import zope.event
            import zope.interface
            from zope import event, interface
            assert interface is zope.interface and event is zope.event
            class Interface(interface.Interface):
                pass
            @interface.implementer(Interface)
            class Thing:
                pass
            assert Interface.providedBy(Thing())
            assert metadata.version("zope.event")
            assert "site-packages" in event.__file__ and not hasattr(event, "__bubble__")
            events.append(event)
            assert len(set(map(id, events))) == 1
            return interface

        events = []
        """,
    "protobuf": """
        def look(version):
            from google import protobuf
            from google.protobuf import descriptor_pb2, json_format, struct_pb2
            from google.api import http_pb2
            from google.rpc import status_pb2
            assert protobuf.__version__ == version
            struct = struct_pb2.Struct()
            struct["a"] = 1
            assert struct_pb2.Struct.FromString(struct.SerializeToString())["a"] == 1
            assert '"a": 1' in json_format.MessageToJson(struct)
            shared.append(http_pb2)
            assert len(set(map(id, shared))) == 1
            return protobuf

        shared = []
        """,
    "setuptools": """
        def look(version):
            import setuptools
            import distutils
            from setuptools.command.build_py import build_py
            from setuptools.dist import Distribution
            command = Distribution({"name": "x", "packages": []}).get_command_obj("build_py")
            command.ensure_finalized()
            assert isinstance(command, build_py)
            assert setuptools.__version__ == version
            folder = setuptools.__file__.rpartition("__init__")[0]
            assert distutils.__file__.startswith(folder), distutils
            assert sys.modules["distutils.core"].__file__.startswith(folder)
            return distutils
        """,
    "SQLAlchemy": """
        def look(version):
            import sqlalchemy
            from sqlalchemy.orm import Session, declarative_base
            Base = declarative_base()
            class User(Base):
                __tablename__ = "user"
                id = sqlalchemy.Column(sqlalchemy.Integer, primary_key=True)
                name = sqlalchemy.Column(sqlalchemy.String)
            engine = sqlalchemy.create_engine("sqlite://")
            Base.metadata.create_all(engine)
            with Session(engine) as session:
                session.add(User(name=version))
                session.commit()
                assert [user.name for user in session.query(User)] == [version]
            from sqlalchemy.dialects import registry
            registry.load("postgresql")
            assert sqlalchemy.__version__ == version
            return sqlalchemy
        """,
    "attrs": """
        def look(version):
            import attr, attrs
            @attr.s(auto_attribs=True)
            class Thing:
                x: str = version
            assert attr.asdict(Thing()) == {"x": version}
            assert attrs.define is attr.define
            return attr
        """,
    "jinja2": """
        def look(version):
            import jinja2, markupsafe
            environment = jinja2.Environment(autoescape=True)
            template = "{% macro m(x) %}<{{ x }}>{% endmacro %}{{ m(v) }}"
            assert environment.from_string(template).render(v=version + "&") == f"<{version}&amp;>"
            return jinja2
        """,
    "click": """
        def look(version):
            import click
            from click.testing import CliRunner
            @click.command()
            @click.option("--name", default=version)
            def command(name):
                click.echo(name)
            assert CliRunner().invoke(command, []).output == version + "\\n"
            return click
        """,
    "requests": """
        import http.server

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.end_headers()
                self.wfile.write(self.headers["User-Agent"].encode())

            def log_message(self, *_):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()

        def look(version):
            import requests, urllib3
            with requests.Session() as session:
                session.trust_env = False
                text = session.get(f"http://127.0.0.1:{server.server_port}/").text
            assert text == f"python-requests/{version}"
            assert requests.packages.urllib3 is urllib3
            assert urllib3.__version__ == metadata.version("urllib3")
            return urllib3
        """,
}


@pytest.mark.parametrize("name", [name for name in VERSIONS if name in LOOKS])
def test_two_versions_work_beside_that_of_main_in_threads_and_in_turn(
    awkward: Scene, program: Program, name: str
) -> None:
    script = program(START, LOOKS[name], "main()\n")
    assert awkward.answer(script, name, *VERSIONS[name], flags=()) == [True, 3]


SITE = {
    "settings.py": """
        SECRET_KEY = "x"
        ALLOWED_HOSTS = ["*"]
        INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "mysite.shop"]
        MIDDLEWARE = ["django.middleware.common.CommonMiddleware", "mysite.middleware.Mine"]
        ROOT_URLCONF = "mysite.urls"
        DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
        TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        USE_TZ = True
        """,
    "urls.py": """
        import django
        from django.http import HttpResponse
        from django.urls import path

        def home(request):
            from django.template import engines
            template = engines["django"].from_string("{{ version }}")
            return HttpResponse(template.render({"version": django.get_version()}))

        urlpatterns = [path("", home)]
        """,
    "middleware.py": """
        from django.utils.deprecation import MiddlewareMixin

        class Mine(MiddlewareMixin):
            def process_response(self, request, response):
                import django
                response["X-Version"] = django.get_version()
                return response
        """,
    "shop/apps.py": """
        from django.apps import AppConfig

        class ShopConfig(AppConfig):
            name = "mysite.shop"
        """,
    "shop/models.py": """
        from django.db import models

        class Item(models.Model):
            name = models.CharField(max_length=20)
        """,
    "__init__.py": "",
    "shop/__init__.py": "",
}


def test_a_site_with_settings_by_string_runs_on_two_versions_of_django_at_once(
    awkward: Scene, program: Program, tmp_path: Path
) -> None:
    for path, text in SITE.items():
        file = tmp_path / "mysite" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text), "utf-8")
    script = program(
        """
        import io, json, os, sys, threading, traceback
        import omnipkg_meta as om

        os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
        barrier, items = threading.Barrier(2, timeout=60), {}

        def serve(version):
            with om.use(f"Django=={version}", adopt=["mysite"]):
                barrier.wait()
                import django
                django.setup()
                from django.core.management import call_command
                from django.test import Client
                response = Client().get("/")
                from mysite.shop.models import Item
                from django.db import connection
                with connection.schema_editor() as editor:
                    editor.create_model(Item)
                Item.objects.create(name=version)
                output = io.StringIO()
                call_command("check", stdout=output)
                items[version] = [
                    django.get_version(),
                    response.content.decode(),
                    response["X-Version"],
                    [item.name for item in Item.objects.all()],
                    "no issues" in output.getvalue(),
                ]
                connection.close()

        threads = [threading.Thread(target=serve, args=(one,)) for one in sys.argv[1:]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        import django
        print(json.dumps([items, django.get_version() in items, "mysite" in sys.modules]))
        """
    )
    first, second = VERSIONS["Django"]
    assert awkward.answer(script, first, second, flags=()) == [
        {version: [version, version, version, [version], True] for version in (first, second)},
        False,
        False,
    ]


#: Import hooks of others: how each is put in, and the loader that it makes.
HOOKS = {
    "typeguard": ("import typeguard; typeguard.install_import_hook(['click'])", "TypeguardLoader"),
    "beartype": (
        "import beartype.claw; beartype.claw.beartype_packages(('click',))",
        "BeartypeSourceFileLoader",
    ),
}


@pytest.mark.parametrize("order", ["before", "after"])
@pytest.mark.parametrize("hook", HOOKS)
def test_an_import_hook_checks_the_types_of_a_bubbles_functions_and_of_mains(
    awkward: Scene, program: Program, hook: str, order: str
) -> None:
    install, loader = HOOKS[hook]
    script = program(
        f"""
        import json, sys
        import omnipkg_meta as om

        if sys.argv[1] == "after":
            with om.use("six==1.16.0"):
                import six
        {install}
        found = []
        for source in ("click==8.1.8", om.main):
            with om.use(source):
                import click.utils
                try:
                    click.utils.echo("text", nl="no bool")
                except Exception as error:
                    found.append(type(error).__module__.partition(".")[0])
                found.append(type(click.utils.__loader__).__name__)
                found.append(hasattr(click.utils, "__bubble__"))
        print(json.dumps(found))
        """
    )
    assert awkward.answer(script, order, flags=()) == [hook, loader, True, hook, loader, False]


def test_pytest_rewrites_the_assertions_of_a_bubbles_modules(
    awkward: Scene, program: Program
) -> None:
    script = program(
        """
        import pytest
        import omnipkg_meta as om

        pytest.register_assert_rewrite("click", "six")

        def loader(name):
            module = __import__(name, fromlist=["x"])
            return type(module.__loader__).__name__, hasattr(module, "__bubble__")

        def test_it():
            for _ in range(2):
                with om.use("click==8.1.8"):
                    assert loader("click.utils") == ("AssertionRewritingHook", True)
                assert loader("click.utils") == ("AssertionRewritingHook", False)
        """,
        name="test_rewriting.py",
    )
    done = awkward.run("-m", "pytest", "-p", "no:cacheprovider", script)
    assert done.returncode == 0, done.stdout + done.stderr


def test_coverage_measures_the_lines_of_a_bubbles_modules(
    awkward: Scene, program: Program, tmp_path: Path
) -> None:
    script = program(
        """
        import omnipkg_meta as om
        with om.use("click==8.1.8"):
            import click
        import click
        """
    )
    data = f"--data-file={tmp_path / 'coverage'}"
    done = awkward.run("-m", "coverage", "run", data, "--source=click", script)
    assert done.returncode == 0, done.stderr
    done = awkward.run("-m", "coverage", "report", data)
    measured = [line.split()[0] for line in done.stdout.splitlines() if "click/core.py" in line]
    assert len([file for file in measured if "click-8.1.8-" in file]) == 1, done.stdout
