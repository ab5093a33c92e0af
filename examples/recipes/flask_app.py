"""Flask: every view of one blueprint runs in a scope; the others do not notice.

``python flask_app.py`` asks both blueprints and prints what they said.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from importlib.metadata import version

import jinja2
from flask import Blueprint, Flask, g

import omnipkg_meta as om

legacy = Blueprint("legacy", __name__, url_prefix="/old")
app = Flask(__name__)


@legacy.before_request
def enter() -> None:
    """Enter the scope before a view of this blueprint."""
    g.scope = ExitStack()
    g.scope.enter_context(om.use("jinja2==3.0.*"))


@legacy.teardown_request
def leave(_: BaseException | None) -> None:
    """Leave it, whatever came of the view."""
    if "scope" in g:  # not if another blueprint's before_request answered first
        g.pop("scope").close()


@legacy.get("/<name>")
def old(name: str) -> list[str]:
    """Answer as ever; ``flask.render_template`` would take main's jinja2, as Flask itself does."""
    from jinja2 import Template

    return [Template("Hello {{ name }}!").render(name=name), version("jinja2")]


@legacy.get("/fails")
def fails() -> list[str]:
    """Fail inside the scope."""
    raise RuntimeError(version("jinja2"))


@app.get("/new/<name>")
def new(name: str) -> list[str]:
    """Answer with the jinja2 that is installed."""
    return [jinja2.Template("Hello {{ name }}!").render(name=name), version("jinja2")]


app.register_blueprint(legacy)


def main() -> None:
    """Ask the blueprints in turns."""
    client = app.test_client()
    paths = ["/old/Ada", "/new/Ada", "/old/fails", "/new/Bob", "/old/Bob"]
    app.logger.disabled = True  # of the one that fails
    told = {path: client.get(path).get_json(silent=True) for path in paths}
    print(json.dumps({"answers": told, "after": version("jinja2")}))


if __name__ == "__main__":
    main()
