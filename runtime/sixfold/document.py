"""Reading a YAML document strictly: every value knows its file, its line and its path, and says so when it is wrong.

Text is never guessed into other types: `mode: 0644` stays the text that the author wrote.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from sixfold.errors import SixfoldError

TEXT_BYTES_MAX = 64 * 1024
"""Of one document; a hundred times what a long AppSpec or pipeline has."""
DEPTH_MAX = 16
"""Nested collections; an AppSpec has five, a pipeline seven."""


class DocumentError(SixfoldError):
    """A document says something that cannot be used; `file` and `line` (from 1) say where."""

    def __init__(self, file: str, line: int, message: str) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.file = file
        self.line = line


@dataclass(frozen=True)
class Value:
    """One value of a document."""

    node: yaml.Node | None
    file: str
    path: str
    """Such as `hooks.BeforeInstall[0].timeout`; empty for the whole document."""
    line: int

    def error(self, message: str, line: int | None = None) -> DocumentError:
        """A DocumentError about this value, to be raised."""
        return DocumentError(self.file, line or self.line, f"{self.path}: {message}" if self.path else message)

    @property
    def empty(self) -> bool:
        """Nothing stands there (`hooks:` and no more)."""
        return self.node is None or (
            isinstance(self.node, yaml.ScalarNode) and self.node.tag == "tag:yaml.org,2002:null"
        )

    def text(self) -> str:
        """The scalar as written; it must not be empty."""
        if not isinstance(self.node, yaml.ScalarNode) or self.empty or not self.node.value.strip():
            raise self.error(f"expected a text, found {self._kind()}")
        return str(self.node.value)

    def one_of(self, choices: Sequence[str]) -> str:
        """The text, which must be one of `choices`."""
        found = self.text()
        if found not in choices:
            raise self.error(f"expected {' or '.join(choices)}, found {found!r}")
        return found

    def number(self, least: int, most: int) -> int:
        """The text as a whole number within the bounds."""
        found = self.text()
        if not (found.isascii() and found.isdigit() and least <= int(found[:20]) <= most):
            raise self.error(f"expected a whole number from {least} to {most}, found {found!r}")
        return int(found)

    def items(self) -> list[Value]:
        """The elements of a list."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.error(f"expected a list (lines that start with `- `), found {self._kind()}")
        return [
            Value(node, self.file, f"{self.path}[{index}]", node.start_mark.line + 1)
            for index, node in enumerate(self.node.value)
        ]

    def fields(self, known: Sequence[str], required: Sequence[str] = ()) -> dict[str, Value]:
        """The values of a mapping by key; each key once, only `known` ones, all `required` ones."""
        found = self.entries()
        for key, value in found.items():
            if key not in known:
                raise self.error(f"unknown key {key!r}; expected {', '.join(known)}", value.line)
        for key in required:
            if key not in found:
                raise self.error(f"{key} is missing; expected `{key}: …`")
        return found

    def entries(self) -> dict[str, Value]:
        """The values of a mapping by key, each key once."""
        if not isinstance(self.node, yaml.MappingNode):
            raise self.error(f"expected keys and values (`key: value`), found {self._kind()}")
        found: dict[str, Value] = {}
        for key_node, value_node in self.node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self.error("a key must be a plain text", line)
            key = key_node.value
            if key in found:
                raise self.error(f"key {key!r} stands here a second time (first on line {found[key].line})", line)
            found[key] = Value(value_node, self.file, f"{self.path}.{key}" if self.path else key, line)
        return found

    def _kind(self) -> str:
        if self.empty:
            return "nothing"
        if isinstance(self.node, yaml.ScalarNode):
            return repr(self.node.value[:80])
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "keys and values"


def read(text: bytes, file: str) -> Value:
    """The document in `text`. Raises DocumentError where it is no single, plain YAML document in UTF-8."""
    if len(text) > TEXT_BYTES_MAX:
        raise DocumentError(file, 1, f"{len(text)} bytes; expected at most {TEXT_BYTES_MAX}")
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise DocumentError(file, line, f"not UTF-8 text (byte 0x{text[error.start]:02x}); save it as UTF-8") from None
    try:
        _refuse_tricks(decoded, file)
        node = yaml.compose(decoded, Loader=yaml.SafeLoader)
    except yaml.reader.ReaderError as error:
        line = decoded.count("\n", 0, error.position) + 1
        raise DocumentError(file, line, "a control character stands in the text; take it out") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(part for part in (error.context, error.problem) if part)
        raise DocumentError(file, mark.line + 1 if mark else 1, f"not valid YAML: {said}") from None
    if node is None:
        raise DocumentError(file, 1, "the file is empty; expected a YAML document")
    return Value(node, file, "", node.start_mark.line + 1)


def _refuse_tricks(text: str, file: str) -> None:
    """Aliases (which can unfold without end) and deep nesting (which can exhaust the stack)."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent):
            raise DocumentError(file, line, f"alias *{event.anchor}: aliases are not supported; write the value out")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > DEPTH_MAX:
                raise DocumentError(file, line, f"more than {DEPTH_MAX} nested collections")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
