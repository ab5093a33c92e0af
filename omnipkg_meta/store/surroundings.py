"""The environment variables that uv and pip get to see.

Owns the decision about each.  Must not know what the two are asked to do.

What says where packages come from and how they are fetched is the user's
configuration, whether it stands in a file or in a variable, and is passed on.
Every other variable of the two, those that are yet to be invented too, is not:
most would send the work elsewhere (``PIP_TARGET``, ``UV_PROJECT_ENVIRONMENT``), ask for
more than the lock (``PIP_CONSTRAINT``, ``UV_OVERRIDE``), or have source distributions
built that nobody allowed (``PIP_NO_BINARY``, ``UV_CONFIG_SETTING``).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from omnipkg_meta.store.index import IndexOptions

__all__ = ["variables"]

_PASSED = frozenset(
    """
    PIP_CACHE_DIR PIP_CERT PIP_CLIENT_CERT PIP_CONFIG_FILE PIP_DEFAULT_TIMEOUT
    PIP_EXTRA_INDEX_URL PIP_FIND_LINKS PIP_INDEX_URL PIP_KEYRING_PROVIDER PIP_NO_CACHE_DIR
    PIP_NO_INDEX PIP_PROXY PIP_RESUME_RETRIES PIP_RETRIES PIP_TIMEOUT PIP_TRUSTED_HOST
    PIP_UPLOADED_PRIOR_TO PIP_USE_DEPRECATED PIP_USE_FEATURE
    UV_CACHE_DIR UV_CONFIG_FILE UV_CREDENTIALS_DIR UV_DEFAULT_INDEX UV_EXCLUDE_NEWER
    UV_EXCLUDE_NEWER_PACKAGE UV_EXTRA_INDEX_URL UV_FIND_LINKS UV_INDEX UV_INDEX_STRATEGY
    UV_INDEX_URL UV_INSECURE_HOST UV_KEYRING_PROVIDER UV_LINK_MODE UV_LOCK_TIMEOUT
    UV_NATIVE_TLS UV_NO_CACHE UV_NO_CONFIG UV_NO_INDEX UV_OFFLINE UV_REQUEST_TIMEOUT
    UV_SYSTEM_CERTS UV_TORCH_BACKEND
    PYTHONNOUSERSITE PYTHONUSERBASE PYTHONUTF8
    """.split()  # noqa: SIM905 (thirty lines of one word would say no more)
)
_PASSED_FAMILIES = re.compile(r"UV_(?:HTTP_\w+|CONCURRENT_\w+|INDEX_\w+_(?:USERNAME|PASSWORD))")
_THEIRS = ("PIP_", "UV_", "PYTHON", "__PYVENV_LAUNCHER__")


def variables(environment: Mapping[str, str], index: IndexOptions) -> dict[str, str]:
    """Return the variables for a builder.

    Args:
        environment: those of this process.
        index: where archives come from; addresses go by variables and not by the command
            line, which every user of the machine can read.
    """
    passed = {
        name: value
        for name, value in environment.items()
        if not name.startswith(_THEIRS) or name in _PASSED or _PASSED_FAMILIES.fullmatch(name)
    }
    if passed.get("UV_LINK_MODE") == "symlink":
        del passed["UV_LINK_MODE"]  # a bubble must not depend on a cache
    passed.update(index.variables())
    passed.update(PIP_DISABLE_PIP_VERSION_CHECK="1", PIP_NO_INPUT="1", NO_COLOR="1")
    return passed
