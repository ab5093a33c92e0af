"""Who answers: the rules applied to whoever asks, and what need not be asked again.

Owns the way from an asker to a decision, and everything that is remembered of it
for speed.  Nothing remembered decides anything of its own.  This file must not
know how an import is intercepted.
"""

from __future__ import annotations

import importlib._bootstrap
from typing import TYPE_CHECKING, Any

from omnipkg_meta import asking, declared, namespaces, own_scopes, resolution, surprise, trace
from omnipkg_meta.activation import CURRENT, OVERLAYS, PINS, pins_of
from omnipkg_meta.asking import IMPORT_NAME, Asker, has_identity, imports, who
from omnipkg_meta.belonging import everybodys
from omnipkg_meta.interpreter_state import ENTRY
from omnipkg_meta.kinds import KINDS, Kind, kind_of
from omnipkg_meta.namespaces import JOINED, holder, portion
from omnipkg_meta.realm import CLAIMED, Realm
from omnipkg_meta.resolution import Decision, Rule, decide

if TYPE_CHECKING:
    from types import FrameType, ModuleType

__all__ = [
    "BOOTSTRAP",
    "SETTLED",
    "at_home",
    "decide_aloud",
    "decision",
    "forget",
    "question",
    "reach",
    "realm_for",
    "settle",
    "settle_at_home",
]


def question(name: str, asker: Asker, *, importable: bool = True) -> dict[str, Any]:
    """Return all that the rules depend on, for an asker in the current context.

    Args:
        name: the full name of a module, or the normalized name of a distribution.
        asker: who asks.
        importable: whether ``name`` is that of a module.

    Returns:
        The arguments of :func:`~omnipkg_meta.resolution.candidates` beside the name.
    """
    own = importable and _is_own(name, asker)
    # This library loads its dependencies before it can lay anything over main, and
    # goes on with these; and what is loaded of main goes on with itself.
    settled = asker.home is None and (own or asker.module.partition(".")[0] == "omnipkg_meta")

    def declares(asked: str) -> bool:
        if settled:
            return True
        if not asker.file or kind_of(asker.file) is not Kind.INSTALLED:
            return False
        return declared.declares(asker.file, asked, importable=importable)

    activation = None if asker.late else CURRENT.get()
    of_main = asker.home is None and not settled
    return {
        "home": asker.home,
        "declares": declares,
        "own": own_scopes.realms_of(asker.file, activation) if of_main else (),
        # Not its own name: what a package pins may well depend on the package itself.
        "pins": _pins(asker) if PINS and not own else (),
        "activation": activation,
        "overlays": () if settled else OVERLAYS[0],
        "hermetic": (
            asker.home is not None
            and asker.home.hermetic
            and not (importable and everybodys(name.partition(".")[0]))
        ),
    }


def _is_own(name: str, asker: Asker) -> bool:
    """Tell whether a module is of the asker's own package."""
    top = name.partition(".")[0]
    if asker.module.partition(".")[0] != top:
        return False
    return top not in JOINED or (
        (part := portion(name)) == portion(asker.module) and part not in JOINED
    )


def decision(name: str, asker: Asker, *, importable: bool = True) -> Decision:
    """Say which realm answers an asker, in the current context.

    Args:
        name: the full name of a module, or the normalized name of a distribution.
        asker: who asks.
        importable: whether ``name`` is that of a module.
    """
    asked = name.partition(".")[0] if importable else name
    home, answers, names = asker.home, _at_home, _names_at_home
    if home is None or home in PINS or asked in JOINED:
        home = None
    elif (known := answers.get((home, asked, importable))) is not None:
        return known
    provider = Realm.provider if importable else Realm.distribution_provider
    answer = decide(asked, **question(name, asker, importable=importable), provider=provider)
    # What the home does not provide may depend on what a scope has adopted for it.
    if home is not None and provider(home, asked) is not None:
        answers[home, asked, importable] = answer
        # Where it is written down, nobody is told of it any more.
        if importable and not trace.LISTENERS:
            names.setdefault(home, {})[asked] = answer.realm
    if importable and asked in JOINED and asked != name:
        return answer._replace(realm=holder(answer.realm, name))
    return answer


def reach(asker: Asker) -> dict[Realm, None]:
    """Return the realms that may answer an asker in the current context, main among them."""
    activation = None if asker.late else CURRENT.get()
    return resolution.reach(asker.home, _pins(asker) if PINS else (), activation, OVERLAYS[0])


def realm_for(name: object, frame: FrameType | None) -> Realm | None:
    """Return the realm that answers for a module name; None if the name is not claimed.

    Args:
        name: a full module name (or any key).
        frame: the nearest frame outside of whoever intercepted the look-up.
    """
    if not isinstance(name, str):
        return None
    top = name.partition(".")[0]
    if top not in CLAIMED:
        return None
    if frame is not None and (home := at_home(top, frame)) is not None:
        return home
    return decide_aloud(name, who(frame)).realm


def decide_aloud(name: str, asker: Asker) -> Decision:
    """Return which realm answers, as :func:`decision` does, and say so where it surprises."""
    found = decision(name, asker)
    trace.note(name, asker, found)
    if found.rule is Rule.MAIN:
        surprise.warn(name, asker)
    return found


class Answered:
    """What was answered, whatever the context, to code of one file: by a pin, or by the home rule.

    Attributes:
        tables: the full name of a module to the table that it is looked up in.
    """

    __slots__ = ("tables",)

    def __init__(self) -> None:
        self.tables: dict[str, dict[str, ModuleType]] = {}

    def __getitem__(self, name: str) -> ModuleType:
        return self.tables[name][name]


#: Code file name to a namespace of it, in which import statements are settled, and the
#: table that answers them: that of the code's home; what was answered to code that is
#: pinned, or declares what it asks for; None for the user's own code that is not pinned,
#: where the scope is all there is to ask.  Empty while anything is laid over main.
SETTLED: dict[str, tuple[dict[str, Any], dict[str, ModuleType] | Answered | None]] = {}


def settle(name: str, asker: Asker, answer: Decision, frame: FrameType) -> None:
    """Note who asks in import statements of a frame, if that is always the same.

    Args:
        name: the full name of the module that was asked for.
        asker: who was found to ask.
        answer: which realm answered, and by which rule.
        frame: the frame nearest to the look-up.
    """
    if asker.frame is not frame or asker.native or asker.late or OVERLAYS[0] or not imports(frame):
        return
    if trace.LISTENERS:
        return  # each time anew, so that all of it is told
    namespace = frame.f_globals
    if asker.home is not None and asker.home not in PINS:
        if answer.realm is asker.home:
            SETTLED[asker.file] = (namespace, answer.realm.modules)
    elif answer.rule is Rule.PIN or (
        answer.rule is Rule.HOME and not own_scopes.asks_for_some(asker.file)
    ):
        known, table = SETTLED.get(asker.file, (None, None))
        if known is not namespace or not isinstance(table, Answered):
            table = Answered()
            SETTLED[asker.file] = (namespace, table)
        table.tables[name] = answer.realm.modules
    elif KINDS.get(asker.file) is Kind.USER and not _pins(asker) and has_identity(namespace):
        SETTLED[asker.file] = (namespace, None)


def _pins(asker: Asker) -> tuple[Realm, ...]:
    pinned = PINS.get(asker.home)
    return pins_of(asker.module, pinned) if pinned else ()


def forget() -> None:
    """Drop what was remembered; called when realms, overlays or main's packages have changed."""
    global _at_home, _names_at_home
    asking.forget()
    SETTLED.clear()
    # New ones: whoever decides at this moment writes its answer into the old ones.
    _at_home, _names_at_home = {}, {}
    namespaces.forget()


#: What code that has a home was answered: nothing that a context holds changes it.
_at_home: dict[tuple[Realm, str, bool], Decision] = {}

#: The same, for import names: home to top-level name to the realm that answers.
_names_at_home: dict[Realm, dict[str, Realm]] = {}

#: The file name of importlib's own code.
BOOTSTRAP = "<frozen importlib._bootstrap>"
_bootstrap: Any = importlib._bootstrap
_FROM_LIST = _bootstrap._handle_fromlist.__code__
_CALL = _bootstrap._call_with_frames_removed.__code__


def at_home(top: str, frame: FrameType) -> Realm | None:
    """Return the realm that answers an import statement of code that has a home.

    It decides nothing of its own: it is :func:`who` and :func:`decision` for the
    case that nearly all look-ups belong to while a bubble loads.

    Args:
        top: a claimed top-level import name.
        frame: the nearest frame outside the code that intercepted the look-up.

    Returns:
        None where it takes more to find out.
    """
    within = inner = None
    code = frame.f_code
    try:
        while code.co_filename == BOOTSTRAP:
            within, inner = inner, code
            frame = frame.f_back  # type: ignore[assignment]  # None: see below
            code = frame.f_code
        realm = _names_at_home[frame.f_globals["__realm__"]][top]
    except (KeyError, AttributeError):  # it has no home; or there is nobody but importlib
        return None
    if inner is _FROM_LIST and within is not _CALL:
        return None  # it looks for an attribute, and what is native may import meanwhile
    if (
        code.co_code[frame.f_lasti] != IMPORT_NAME and code is not ENTRY and not imports(frame)
    ) or top in JOINED:
        return None
    return realm


def settle_at_home(realm: Realm, frame: FrameType) -> bool:
    """Do as :func:`settle` does for a frame that :func:`at_home` has answered, if that is all.

    Args:
        realm: the answer.
        frame: the frame nearest to the look-up.

    Returns:
        False where more is to be said or noted than this.
    """
    code = frame.f_code
    if code.co_filename == BOOTSTRAP or code is ENTRY:
        return True  # not the import statement itself
    namespace = frame.f_globals
    if namespace.get("__realm__") is not realm or OVERLAYS[0] or trace.wanted():
        return False
    SETTLED[code.co_filename] = (namespace, realm.modules)
    return True
