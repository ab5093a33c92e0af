"""Why an import resolves as it does: ``explain``.

Owns the form of an explanation.  It asks the rules and never repeats them; what
was decided and what is told cannot differ.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

from omnipkg_meta import answering, asking, declared
from omnipkg_meta.path_entries import main_path, path_of
from omnipkg_meta.realm import CLAIMED, MAIN, Realm
from omnipkg_meta.resolution import Rule, candidates

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

    from omnipkg_meta.asking import Asker
    from omnipkg_meta.store.bubble import Bubble

__all__ = ["Candidate", "Explanation", "explain", "explain_for"]

_WHY = {
    Rule.PIN: "the asking package is pinned",
    Rule.HOME: "the asking code is at home there",
    Rule.SCOPE: "the innermost scope that provides the name",
    Rule.MAIN: "no pin, home or scope provides the name",
    Rule.HERMETIC: "the asking code's bubble is hermetic, and does not provide the name",
}
_SHARED = {
    Rule.PIN: "the asking package is pinned to a bubble that shares it with main",
    Rule.HOME: "the asking code's bubble shares it with main",
    Rule.SCOPE: "the innermost scope that provides the name shares it with main",
    Rule.MAIN: "what is laid over main shares it with main",
}
_UNCLAIMED = "no bubble in this process provides the name"


@dataclass(frozen=True)
class Candidate:
    """One environment that was asked, or would have been.

    Attributes:
        rule: the rule that brings it in: ``pin``, ``home``, ``scope``, ``main`` or ``hermetic``.
        bubble: the bubble; None for main.
        provides: whether it provides the name.
        version: the version that it holds, if that is known.
        origin: the file that it would answer with, if any.
        shares: whether it is a bubble that answers with main's, which it shares.
    """

    rule: str
    bubble: Bubble | None
    provides: bool
    version: str | None
    origin: str | None
    shares: bool = False

    def __str__(self) -> str:
        where = "main" if self.bubble is None else self.bubble.id
        what = f"{self.version or 'it'} in {self.origin}"
        if self.shares:
            what = f"shares main's {what}"
        elif not self.provides:
            what = "does not provide it"
        return f"{self.rule}: {where}: {what}"


@dataclass(frozen=True)
class Explanation:
    """Which environment answers an import, by which rule, and what else there was.

    Attributes:
        name: the module that is asked for.
        rule: ``pin``, ``home``, ``scope`` or ``main``; ``hermetic`` where a hermetic bubble
            answers that it has none; ``unclaimed`` where only main can answer.
        why: the same as a sentence.
        asker: the full name of the asking module; empty where nobody is found to ask.
        file: the file of the asking code.
        line: the line in it; None for native code, which has none.
        bubble: the bubble that answers; None for main.
        version: the version that answers, if that is known.
        origin: the file that answers, if any.
        candidates: the environments that are asked, in order; the answering one among them.
    """

    name: str
    rule: str
    why: str
    asker: str
    file: str
    line: int | None
    bubble: Bubble | None
    version: str | None
    origin: str | None
    candidates: tuple[Candidate, ...]

    def __str__(self) -> str:
        lines = [self._answer(), *(f"  {name + ':':<6} {fact}" for name, fact in self._facts())]
        if self.candidates:
            lines += ["  asked, in this order:", *(f"    {one}" for one in self.candidates)]
        return "\n".join(lines)

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:  # noqa: ARG002  # IPython's
        printer.text(str(self))

    def _repr_html_(self) -> str:
        from omnipkg_meta.hypertext import card

        asked = "\n".join(map(str, self.candidates))
        return card(self._answer(), [*self._facts(), ("asked, in this order", asked)])

    def _answer(self) -> str:
        answer = "main" if self.bubble is None else f"the bubble {self.bubble.id}"
        return f"{self.name} {self.version or ''}".rstrip() + f" from {answer}"

    def _facts(self) -> list[tuple[str, str]]:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return [
            ("rule", f"{self.rule} ({self.why})"),
            ("file", self.origin or "none: it is not there, or has no file"),
            ("asker", (self.asker or "nobody") + (f" ({place})" if place else "")),
        ]


def explain(name: str) -> Explanation:
    """Say why an import of *name*, made by the calling code here and now, resolves as it does.

    Nothing is imported.

    Args:
        name: a full module name, ``"rich"`` or ``"rich.console"``.

    Raises:
        ValueError: it is no module name.
    """
    return explain_for(name, sys._getframe(1))


def explain_for(name: object, frame: FrameType | None) -> Explanation:
    """Say why an import of *name* made by a frame resolves as it does.

    Raises:
        ValueError: it is no module name.
    """
    if not isinstance(name, str) or not all(map(str.isidentifier, name.split("."))):
        raise ValueError(f"explain() takes the full name of a module, not {name!r}")
    top = name.partition(".")[0]
    asker = asking.who(frame)
    line = None if asker.frame is None or asker.native else asker.frame.f_lineno
    if top not in CLAIMED:
        origin = _origin_in_main(name)
        version = _version(MAIN, top)
        return Explanation(
            name, "unclaimed", _UNCLAIMED, asker.module, asker.file, line, None, version, origin, ()
        )
    question = answering.question(name, asker)
    answer = answering.decision(name, asker)
    asked = list(candidates(top, **question))
    seen = [_candidate(name, realm, rule) for realm, rule in asked]
    realm = answer.realm
    answers = next((one for one, _ in asked if one is MAIN or one.provider(top)), realm)
    return Explanation(
        name,
        answer.rule.value,
        _SHARED[answer.rule] if answers.shares(top) else _why(top, asker, answer.rule, question),
        asker.module,
        asker.file,
        line,
        realm.bubble,
        _version(realm, top),
        _origin(realm, name),
        tuple(seen),
    )


def _why(top: str, asker: Asker, rule: Rule, question: dict[str, Any]) -> str:
    if rule is Rule.HOME and question["home"] is None:
        if asker.module.partition(".")[0] == top:
            return "the asking code is of that package itself, in main"
        return "the asking code's distribution is installed in main and declares it"
    if asker.late and rule is Rule.MAIN:
        return "a lazy import of main's code is answered without scope"
    return _WHY[rule]


def _candidate(name: str, realm: Realm, rule: Rule) -> Candidate:
    top = name.partition(".")[0]
    serving = MAIN if realm is MAIN else realm.provider(top)
    if serving is None:
        return Candidate(rule.value, realm.bubble, provides=False, version=None, origin=None)
    origin = _origin(serving, name)
    provides = serving is not MAIN or origin is not None or name in MAIN.modules
    version, shares = _version(serving, top), realm.shares(top)
    return Candidate(rule.value, realm.bubble, provides, version, origin, shares)


def _version(realm: Realm, top: str) -> str | None:
    if realm is not MAIN:
        owners = realm.import_names.get(top, ())
        return next((realm.distributions[owner] for owner in owners), None)
    if top in sys.stdlib_module_names:
        return None
    return declared.version_of_import(top)


def _origin(realm: Realm, name: str) -> str | None:
    if realm is MAIN:
        return _origin_in_main(name)
    module = realm.modules.get(name)
    if module is not None:
        return getattr(module, "__file__", None)
    in_place = name.partition(".")[0] in realm.in_place
    return _find(name, main_path() if in_place else path_of(realm))


def _origin_in_main(name: str) -> str | None:
    # Main's storage and table themselves: the view would depend on who asks.
    module = MAIN.modules.get(name)
    if module is None and dict.__contains__(sys.modules, name):
        module = dict.__getitem__(sys.modules, name)
    if module is not None:
        return getattr(module, "__file__", None)
    return _find(name, main_path())


def _find(name: str, path: Sequence[str]) -> str | None:
    """Find a module's file without importing its parents."""
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:count]), path)
        if spec is None:
            return None
        path = list(spec.submodule_search_locations or ())
        if count == len(parts):
            return spec.origin if spec.has_location else next(iter(path), None)
    return None
