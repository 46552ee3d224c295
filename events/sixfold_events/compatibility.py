"""Schema evolution without a server: frozen schemas in files, checked against each other and against the classes.

A folder of frozen schemas holds `<event type>/v<version>.avsc`. `freeze` writes the schema of a version that is not
frozen yet; `check` says what is wrong. Compatibility is transitive: the newest version against every older one.

Source: Apache Avro 1.12 specification, Schema Resolution.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from sixfold_events import avro
from sixfold_events.avro import Schema
from sixfold_events.event import Event
from sixfold_events.resolution import unreadable


class Problem(NamedTuple):
    """One thing that is wrong with a frozen schema."""

    event_type: str
    path: Path
    """The file concerned."""
    message: str
    """What was expected, what was found, what to do."""


def path_of(folder: Path, cls: type[Event]) -> Path:
    """Where the schema of `cls` is frozen below `folder`."""
    return folder / cls.__event__.type / f"v{cls.__event__.version}.avsc"


def freeze(folder: Path, classes: Iterable[type[Event]]) -> list[Path]:
    """Write the schema of every version that is not frozen yet; returns the files written. Frozen files stay."""
    written = []
    for cls in classes:
        path = path_of(folder, cls)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(avro.schema_of(cls), indent=2) + "\n")
            written.append(path)
    return written


def check(folder: Path, classes: Iterable[type[Event]]) -> list[Problem]:
    """Everything that is wrong between `classes` and the frozen schemas below `folder`; empty when all is well."""
    problems: list[Problem] = []
    known: set[str] = set()
    for cls in sorted(classes, key=lambda each: each.__event__.type):
        known.add(cls.__event__.type)
        problems += _check_class(folder, cls)
    for stray in sorted(path.name for path in folder.glob("*") if path.is_dir() and path.name not in known):
        problems.append(
            Problem(
                stray,
                folder / stray,
                "no event class has this type any more; old records still need it: keep the class",
            )
        )
    return problems


def _check_class(folder: Path, cls: type[Event]) -> list[Problem]:
    declaration = cls.__event__
    own = path_of(folder, cls)
    if not own.exists():
        return [Problem(declaration.type, own, "not frozen yet; run `sixfold schema freeze` and commit the file")]
    frozen: dict[int, Schema] = {}
    for path in sorted(own.parent.glob("v*.avsc")):
        try:
            frozen[int(path.stem[1:])] = json.loads(path.read_text())
        except ValueError as error:
            return [Problem(declaration.type, path, f"not a readable schema: {error}; restore it from version control")]
    problems = []
    generated = avro.schema_of(cls)
    if avro.declared_form(generated) != avro.declared_form(frozen[declaration.version]):
        problems.append(
            Problem(
                declaration.type,
                own,
                f"{cls.__name__} no longer has the schema that version {declaration.version} was frozen with; "
                f"declare version={declaration.version + 1} and freeze it, or take the change back",
            )
        )
    if max(frozen) > declaration.version:
        problems.append(
            Problem(
                declaration.type,
                own,
                f"version {max(frozen)} is frozen, but {cls.__name__} declares {declaration.version}",
            )
        )
    for version, schema in sorted(frozen.items()):
        if version >= declaration.version:
            continue
        path = own.parent / f"v{version}.avsc"
        problems += [
            Problem(declaration.type, path, f"version {declaration.version} cannot read it: {reason}")
            for reason in unreadable(generated, schema)
        ]
        if declaration.compatibility == "FULL":
            problems += [
                Problem(
                    declaration.type, path, f"version {version} cannot read version {declaration.version}: {reason}"
                )
                for reason in unreadable(schema, generated)
            ]
    return problems
