"""The commands about bubbles on disk: ``install``, ``export``, ``list``, ``show`` and so on.

Owns their options and what they print.  Must not know how the store works inside.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omnipkg_meta.cli import output

if TYPE_CHECKING:
    import argparse

    from omnipkg_meta.errors import BubbleInUseError, BubbleInvalidError
    from omnipkg_meta.store.bubble import Bubble
    from omnipkg_meta.store.disk import Taken
    from omnipkg_meta.store.store import Store

    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_commands", "add_compile_option", "add_index_options", "index_options"]

_DONE, _FAILED, _USAGE = 0, 1, 2


def add_commands(commands: Commands) -> None:
    """Add this file's commands to the parser."""
    install = _command(commands, "install", _install, "make a bubble for requirements")
    install.add_argument(
        "requirements", nargs="*", metavar="REQ", help="a PEP 508 string, or a wheel's path"
    )
    install.add_argument(
        "--lock",
        metavar="FILE",
        help="make exactly what this pylock.toml names, hash by hash; - reads it from stdin",
    )
    add_index_options(install)
    install.add_argument(
        "--builder", choices=("auto", "uv", "pip"), help="what resolves and installs"
    )
    install.add_argument(
        "--allow-build",
        action="store_true",
        help="allow source distributions; building one runs its code",
    )
    install.add_argument(
        "--reinstall", action="store_true", help="make it afresh even if it is there"
    )
    add_compile_option(install)

    export = _command(
        commands, "export", _export, "print the lock of a bubble, for install --lock", json=False
    )
    export.add_argument("bubble", metavar="ID|REQ", help="a bubble's id, or a requirement")
    export.add_argument("-o", "--output", metavar="FILE", help="write it there instead")

    listing = _command(commands, "list", _list, "list the bubbles of this interpreter")
    listing.add_argument(
        "--size", action="store_true", help="what each takes of the disk, and all together"
    )
    listing.add_argument(
        "--tree", action="store_true", help="with what each holds, under what needs it"
    )

    show = _command(commands, "show", _show, "show what a bubble holds")
    show.add_argument("bubble", metavar="ID|REQ", help="a bubble's id, or a requirement")

    remove = _command(commands, "remove", _remove, "remove bubbles")
    remove.add_argument(
        "bubbles", nargs="+", metavar="ID|REQ", help="ids, or requirements they were made for"
    )
    remove.add_argument("-y", "--yes", action="store_true", help="do not ask")
    remove.add_argument("--force", action="store_true", help="remove even what a program is using")

    verify = _command(
        commands, "verify", _verify, "compare the files of bubbles with what was installed"
    )
    verify.add_argument(
        "bubbles", nargs="*", metavar="ID|REQ", help="ids, or requirements; all when not given"
    )
    verify.add_argument("--all", action="store_true", help="all bubbles of this interpreter")


def add_compile_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says when byte code is made; without it, as configured."""
    parser.add_argument(
        "--compile-bytecode",
        action="store_true",
        default=None,
        help="make byte code now, and not at the first import: for stores that are only read",
    )


def add_index_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where archives come from."""
    group = parser.add_argument_group(
        "index", "as uv and pip have them; what is not given is as configured"
    )
    group.add_argument("-i", "--index-url", metavar="URL", help="the index to ask")
    group.add_argument("--extra-index-url", metavar="URL", action="append", help="one more index")
    group.add_argument(
        "-f", "--find-links", metavar="DIR|URL", action="append", help="a place with wheels"
    )
    group.add_argument("--no-index", action="store_true", help="ask no index, only --find-links")
    group.add_argument("--pre", action="store_true", help="allow pre-releases")


def index_options(arguments: argparse.Namespace) -> list[str]:
    """Return the options that :func:`add_index_options` read, as ``install`` takes them."""
    words = [f"--index-url={arguments.index_url}"] if arguments.index_url else []
    words += [f"--extra-index-url={url}" for url in arguments.extra_index_url or ()]
    words += [f"--find-links={place}" for place in arguments.find_links or ()]
    words += ["--no-index"] if arguments.no_index else []
    return [*words, "--pre"] if arguments.pre else words


def _command(
    commands: Commands, name: str, run: Any, text: str, *, json: bool = True
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name, help=text, description=text.capitalize() + ".", allow_abbrev=False
    )
    parser.add_argument("--store", metavar="DIR", help="the store's directory")
    if json:
        parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run)
    return parser


def _install(arguments: argparse.Namespace) -> int:
    if not arguments.requirements and arguments.lock is None:
        output.note("error: nothing was asked for\ntip: name a requirement, or give --lock FILE")
        return _USAGE
    from omnipkg_meta.cli.loading import uninterrupted
    from omnipkg_meta.store.early import asking

    began, began_at = time.monotonic(), time.time()
    asked = () if arguments.lock is not None else arguments.requirements
    question = asking(
        asked,
        store=arguments.store,
        builder=arguments.builder,
        index_options=index_options(arguments),
        allow_build=arguments.allow_build,
        reinstall=arguments.reinstall,
    )
    with question as begun, output.Progress() as progress:
        with uninterrupted():
            # Not before the index is asked: to load it takes a while.
            from omnipkg_meta.store.build import install, load

            if begun is not None:
                load()
        bubble = install(
            arguments.requirements,
            lock=_lock(arguments.lock),
            store=_store(arguments),
            builder=arguments.builder,
            index_options=index_options(arguments),
            allow_build=arguments.allow_build,
            reinstall=arguments.reinstall,
            compile_bytecode=arguments.compile_bytecode,
            progress=progress,
            begun=begun,
        )
    if _made_before(bubble, began_at):
        output.note(f"{bubble.id} is there already")
    else:
        count = len(bubble.distributions)
        what = "1 distribution" if count == 1 else f"{count} distributions"
        output.note(
            f"installed {bubble.id}: {what}, {time.monotonic() - began:.1f} s, {bubble.builder}"
        )
    if arguments.json:
        output.json(_facts(bubble))
    else:
        output.data(str(bubble.path))
    return _DONE


def _made_before(bubble: Bubble, moment: float) -> bool:
    from datetime import datetime, timezone

    in_words = datetime.fromtimestamp(moment, timezone.utc).isoformat(timespec="microseconds")
    return bubble.created < in_words  # as in a manifest


def _lock(file: str | None) -> str | Path | None:
    if file != "-":
        return None if file is None else Path(file)
    return sys.stdin.read() + "\n"  # so that it is a text and no path, whatever it holds


def _export(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.errors import OmnipkgMetaError
    from omnipkg_meta.store.lock import export

    store = _store(arguments)
    bubble = store.get(arguments.bubble) or store.require([arguments.bubble])
    text = export(bubble)
    if arguments.output is None:
        output.data(text.rstrip("\n"))
        return _DONE
    try:
        Path(arguments.output).write_text(text, "utf-8")
    except OSError as error:
        raise OmnipkgMetaError(
            "the lock cannot be written",
            cause=f"{error.strerror}: {arguments.output}",
            tip="give another file with -o",
        ) from None
    output.note(f"wrote the lock of {bubble.id} to {arguments.output}")
    return _DONE


def _list(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.store.disk import together

    store = _store(arguments)
    listed, taken, broken = _listed(store, arguments)
    total = together(taken).size
    if arguments.json:
        for facts, size in zip(listed, taken, strict=False):
            facts.update(size=size.size, freed=size.freed)
        told = {
            "store": str(store.path),
            "tag": store.tag,
            "bubbles": listed,
            "broken": [_broken_facts(one) for one in broken],
        }
        output.json({**told, "size": total} if arguments.size else told)
        return _DONE
    if listed:
        header = ["ID", "MADE FOR", "DISTRIBUTIONS", "CREATED"]
        if arguments.size:
            header.append("SIZE")
            for row, size in zip(listed, taken, strict=True):
                row.append(output.size(size.size))
        if arguments.tree:
            _print_trees(listed)
        else:
            output.table(header, listed)
        if arguments.size:
            output.note(f"together {output.size(total)}; what bubbles share is counted once")
    else:
        output.note(f"no bubbles in {store.tag_path}")
    for error in broken:
        output.error(error)
    return _DONE


def _listed(
    store: Store, arguments: argparse.Namespace
) -> tuple[list[Any], list[Taken], list[BubbleInvalidError]]:
    """Return what is told of each bubble, what each takes of the disk, and what is broken."""
    from omnipkg_meta.errors import BubbleInvalidError
    from omnipkg_meta.store.gc import taken_by

    listed: list[Any] = []
    taken: list[Taken] = []
    broken: list[BubbleInvalidError] = []
    for one in store.scan():
        if isinstance(one, BubbleInvalidError):
            broken.append(one)
            continue
        # What is told of it is kept, and the bubble let go: there may be thousands.
        if arguments.json:
            listed.append(_facts(one))
        else:
            listed.append(_tree(one) if arguments.tree else _row(one))
        if arguments.size:
            taken.append(taken_by(store, one))
    return listed, taken, broken


def _tree(bubble: Bubble) -> list[str]:
    """Return a bubble's tree, and what it was made for, to stand beside its id."""
    from omnipkg_meta.cli.tree import branches

    lines = branches(bubble, unicode=output.draws("├└│─"))
    return [bubble.id, "\n".join(lines), ", ".join(bubble.requested)]


def _print_trees(listed: list[list[str]]) -> None:
    for name, branches, *beside in listed:
        output.data(
            f"{output.paint(name, 'bold', sys.stdout)}  "
            f"{output.paint('  '.join(beside), 'dim', sys.stdout)}"
        )
        output.data(branches)


def _row(bubble: Bubble) -> list[str]:
    made_for, count = ", ".join(bubble.requested), len(bubble.distributions)
    return [bubble.id, made_for, str(count), bubble.created[:10]]


def _show(arguments: argparse.Namespace) -> int:
    store = _store(arguments)
    bubble = store.get(arguments.bubble) or store.require([arguments.bubble])
    if arguments.json:
        output.json({**_facts(bubble), "copies": [str(one.path) for one in store.copies(bubble)]})
        return _DONE
    lines = [
        ("id", bubble.id),
        ("path", str(bubble.path)),
        ("made for", ", ".join(bubble.requested)),
        ("interpreter", bubble.tag),
        ("builder", bubble.builder),
        ("created", bubble.created),
        ("imports", ", ".join(bubble.import_names)),
        ("scripts", ", ".join(bubble.scripts_provided) or "none"),
        ("native files", str(len(bubble.native_files))),
    ]
    # Made for those who entered it on other terms; they go when it goes.
    lines += [("copy", one.id) for one in store.copies(bubble)]
    for name, text in lines:
        output.data(f"{name + ':':<14}{text}")
    output.data("distributions:")
    for name, version in bubble.distributions.items():
        output.data(f"  {name} {version}")
    if bubble.libraries is not None and bubble.libraries.private:
        output.data("names of libraries:")
        for name, private in bubble.libraries.private.items():
            output.data(f"  {private} is {name}")
    if bubble.libraries is not None and bubble.libraries.public:
        output.data("names of libraries that are not private:")
        for name, why in bubble.libraries.public.items():
            output.data(f"  {name}: {why}")
    return _DONE


def _remove(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.errors import BubbleInUseError

    store = _store(arguments)
    chosen: list[str] = []
    for text in arguments.bubbles:
        chosen += [one for one in _ids(store, text) if one not in chosen]
    if not arguments.yes:
        for one in chosen:
            output.note(one)
        answer = output.confirm(f"remove {_count(chosen)}?")
        if answer is None:
            output.note("nothing was removed: there is no terminal to ask on; add --yes")
            return _USAGE
        if not answer:
            output.note("nothing was removed")
            return _FAILED
    removed: list[str] = []
    kept: list[BubbleInUseError] = []
    for one in chosen:
        try:
            store.remove(one, force=arguments.force)
        except BubbleInUseError as error:
            output.error(error)
            kept.append(error)
            continue
        removed.append(one)
        if not arguments.json:
            output.data(one)
    if arguments.json:
        used_by = {error.path.name: [user[0] for user in error.users] for error in kept}
        output.json({"removed": removed, "in_use": used_by})
    output.note(f"removed {_count(removed)}")
    return _FAILED if kept else _DONE


def _verify(arguments: argparse.Namespace) -> int:
    from omnipkg_meta.errors import BubbleInvalidError

    store = _store(arguments)
    if arguments.bubbles and not arguments.all:
        ids = [one for text in arguments.bubbles for one in _ids(store, text)]
    else:
        ids = sorted(one.path.name for one in store.scan())
    results: dict[str, list[str]] = {}
    with output.Progress() as progress:
        for one in dict.fromkeys(ids):
            progress(f"verifying {one}")
            try:
                bubble = store.get(one)
            except BubbleInvalidError as error:
                results[one] = list(error.problems)
                continue
            if bubble is not None:  # else removed by another program
                with suppress(BubbleInvalidError):  # removed in this moment
                    results[one] = store.verify(bubble)
    if arguments.json:
        output.json({"store": str(store.path), "tag": store.tag, "problems": results})
    else:
        for one, problems in results.items():
            output.data(f"{one}: {'ok' if not problems else f'{len(problems)} wrong'}")
            for problem in problems:
                output.data(f"  {problem}")
    wrong = [one for one, problems in results.items() if problems]
    if wrong:
        output.note(f"{_count(wrong)} of {len(results)} not as installed; install them again")
    return _FAILED if wrong else _DONE


def _store(arguments: argparse.Namespace) -> Store:
    from omnipkg_meta.store.store import Store

    return Store(arguments.store)


def _ids(store: Store, text: str) -> list[str]:
    """Return the ids that a word on the command line means: an id, or a requirement."""
    from omnipkg_meta import requirements

    if any(text in one.ids() for one in (store, *store.behind)):
        return [text]
    asked = requirements.parse([text])
    names = {one.name for one in asked}
    found = [
        bubble.id
        for bubble in store.matching(asked)
        # Not the bubbles that hold it as a dependency of something else.
        if names <= {requirements.name_of(root) for root in bubble.requested}
    ]
    if not found:
        raise store.not_found([text])
    return found


def _facts(bubble: Bubble) -> dict[str, Any]:
    return {
        "id": bubble.id,
        "path": str(bubble.path),
        "tag": bubble.tag,
        "requested": list(bubble.requested),
        "distributions": dict(bubble.distributions),
        "import_names": {name: list(by) for name, by in bubble.import_names.items()},
        "scripts": dict(bubble.scripts_provided),
        "native_files": list(bubble.native_files),
        "native": bubble.entry.get("native"),
        "builder": bubble.builder,
        "created": bubble.created,
    }


def _broken_facts(error: BubbleInvalidError) -> dict[str, Any]:
    return {"id": error.path.name, "path": str(error.path), "problems": list(error.problems)}


def _count(ids: list[str]) -> str:
    return "1 bubble" if len(ids) == 1 else f"{len(ids)} bubbles"
