"""Reading `pipeline.yaml`: what is right is understood, what is wrong is told with its line."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold_functions.pipeline import definition
from sixfold_functions.pipeline.model import Artifact, Build, Definition, Deploy

GOOD = """\
version: 1
name: web
on: {branches: [main, "release/*"]}
stages:
  - name: build
    actions:
      - name: build
        category: Build
        commands:
          - make
          - |
            echo two
            echo lines
        timeout_s: 600
        artifact: {base_directory: ./examples/dist/, files: ["**/*"]}
  - name: deploy
    actions:
      - {name: deploy, category: Deploy, application: web, group: production, appspec: appspec.yml}
"""


def test_the_documented_form_is_understood() -> None:
    """Every key of the grammar arrives, and the definition survives being an event's text."""
    parsed = definition.parse(GOOD.encode())
    assert parsed.name == "web"
    assert parsed.branches == ["main", "release/*"]
    (build,), (deploy,) = (stage.actions for stage in parsed.stages)
    assert build == Build(
        name="build",
        commands=["make", "echo two\necho lines\n"],
        timeout_s=600,
        artifact=Artifact(base_directory="examples/dist", files=["**/*"]),
    )
    assert deploy == Deploy(name="deploy", application="web", group="production", appspec="appspec.yml")
    assert msgspec.json.decode(msgspec.json.encode(parsed), type=Definition) == parsed


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("version: 1", "version: 2", 1, "whole number from 1 to 1, found '2'"),
        ("name: web\n", "", 1, "name is missing"),
        ("name: web\n", "name: we b\n", 2, "expected a name"),
        ("name: web\n", "name: web\nname: again\n", 3, "a second time (first on line 2)"),
        ("stages:", "stagse:", 4, "unknown key 'stagse'; expected version, name, on, stages"),
        ('on: {branches: [main, "release/*"]}', "on: {branches: main}", 3, "on.branches: expected a list"),
        ('on: {branches: [main, "release/*"]}', "on: {tags: [v1]}", 3, "unknown key 'tags'"),
        ("  - name: build\n", "  - name: source\n", 5, "is taken"),
        ("  - name: deploy\n", "  - name: build\n", 16, "two stages are named 'build'"),
        ("category: Build", "category: Bild", 8, "expected Build or Deploy, found 'Bild'"),
        ("        category: Build\n", "", 7, "category is missing"),
        ("          - make\n", "          - {make: 1}\n", 10, "commands[0]: expected a text, found keys and values"),
        ("timeout_s: 600", "timeout_s: soon", 14, "whole number from 1 to 28800, found 'soon'"),
        ("timeout_s: 600", "timeout: 600", 14, "unknown key 'timeout'"),
        ("./examples/dist/", "../dist", 15, "inside the working copy"),
        ("./examples/dist/", "/dist", 15, "inside the working copy"),
        ('        artifact: {base_directory: ./examples/dist/, files: ["**/*"]}\n', "", 17, "no build before it"),
        (", group: production", "", 18, "group is missing"),
        (
            "    actions:\n      - {name: deploy",
            "    actions: []\n    x:\n      - {name: deploy",
            18,
            "unknown key 'x'",
        ),
        ("      - name: build\n", "      - name: build\n\t", 8, "not valid YAML"),
    ],
)
def test_a_mistake_is_told_with_its_line(old: str, new: str, line: int, words: str) -> None:
    """The message begins with file and line and says what was expected and found."""
    assert old in GOOD
    with pytest.raises(definition.DocumentError) as told:
        definition.parse(GOOD.replace(old, new, 1).encode())
    assert str(told.value).startswith(f"pipeline.yaml:{line}: "), str(told.value)
    assert words in str(told.value)


@pytest.mark.parametrize(
    "text",
    [b"", b"# nothing", b"[]", b"a: &a [*a]", b"[" * 5000, b"\xff\xfe", b"version: 1\n---\nversion: 1", b"x" * 70_000],
    ids=["empty", "comment", "list", "alias", "deep", "binary", "two", "huge"],
)
def test_what_is_no_pipeline_at_all_is_told_too(text: bytes) -> None:
    """No text ends in anything but a message with file and line."""
    with pytest.raises(definition.DocumentError, match=r"^pipeline\.yaml:\d+: "):
        definition.parse(text)


@given(st.text(max_size=300), st.integers(0, len(GOOD)), st.integers(0, 40))
def test_any_damage_gives_a_definition_or_a_message(noise: str, start: int, length: int) -> None:
    """However the text is damaged, nothing but DocumentError comes out."""
    damaged = GOOD[:start] + noise + GOOD[start + length :]
    with contextlib.suppress(definition.DocumentError):
        definition.parse(damaged.encode(errors="replace"))


@pytest.mark.parametrize(
    ("ref", "starts"),
    [
        ("refs/heads/main", True),
        ("refs/heads/release/1.0", True),
        ("refs/heads/dev", False),
        ("refs/tags/main", False),
        ("main", False),
    ],
)
def test_only_the_named_branches_start_it(ref: str, starts: bool) -> None:
    """`on.branches` names branches, `*` stands for any text; tags start nothing."""
    assert definition.wants(definition.parse(GOOD.encode()), ref) is starts
