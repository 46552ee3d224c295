"""Reads `pipeline.yaml` strictly: unknown keys, wrong types and what is missing are told with file and line.

The grammar is in DESIGN.md; its words are CodePipeline's (stages, actions, categories) and CodeBuild's (commands,
artifact with base directory and files).
"""

from __future__ import annotations

import fnmatch
import re

from sixfold.document import DocumentError, Value, read
from sixfold_functions.pipeline.model import Action, Artifact, Build, Definition, Deploy, Stage

FILE = "pipeline.yaml"
SOURCE = "source"
"""The stage that every pipeline has: its pushed commit."""
NAME = re.compile(r"[A-Za-z0-9.@_-]{1,100}")
"""CodePipeline's rule for names of pipelines, stages and actions."""
STAGES_MAX = ACTIONS_MAX = COMMANDS_MAX = FILES_MAX = 50
"""CodePipeline's own limits of stages, of actions in a stage, of commands."""
BRANCHES_MAX = 50
COMMAND_CHARS_MAX = 8192
TIMEOUT_S_MAX = 8 * 3600
"""CodeBuild's longest build."""


def parse(text: bytes, file: str = FILE) -> Definition:
    """The definition in `text`. Raises DocumentError, whose message begins with `file:line:`."""
    top = read(text, file).fields(("version", "name", "on", "stages"), ("version", "name", "stages"))
    top["version"].number(1, 1)
    branches = _branches(top["on"]) if "on" in top else ["main"]
    stages: list[Stage] = []
    artifact = False
    for value in _some(top["stages"], STAGES_MAX, "stages"):
        stage, artifact = _stage(value, artifact)
        if stage.name == SOURCE:
            raise value.error(f"the name {SOURCE!r} is taken by the stage that every pipeline begins with")
        if stage.name in [other.name for other in stages]:
            raise value.error(f"two stages are named {stage.name!r}")
        stages.append(stage)
    return Definition(name=_name(top["name"]), branches=branches, stages=stages)


def _branches(value: Value) -> list[str]:
    fields = value.fields(("branches",), ("branches",))
    return [item.text() for item in _some(fields["branches"], BRANCHES_MAX, "branches")]


def _stage(value: Value, artifact: bool) -> tuple[Stage, bool]:
    fields = value.fields(("name", "actions"), ("name", "actions"))
    actions: list[Action] = []
    for item in _some(fields["actions"], ACTIONS_MAX, "actions"):
        action = _action(item)
        if action.name in [other.name for other in actions]:
            raise item.error(f"two actions of the stage are named {action.name!r}")
        if isinstance(action, Deploy) and not artifact:
            raise item.error("deploys the newest artifact, but no build before it makes one; give a build `artifact:`")
        artifact = artifact or (isinstance(action, Build) and action.artifact is not None)
        actions.append(action)
    return Stage(name=_name(fields["name"]), actions=actions), artifact


def _action(value: Value) -> Action:
    category = value.entries().get("category")
    if category is None:
        raise value.error("category is missing; expected `category: Build` or `category: Deploy`")
    return _build(value) if category.one_of(("Build", "Deploy")) == "Build" else _deploy(value)


def _build(value: Value) -> Build:
    known = ("name", "category", "commands", "timeout_s", "artifact")
    fields = value.fields(known, ("name", "commands"))
    commands = []
    for item in _some(fields["commands"], COMMANDS_MAX, "commands"):
        command = item.text()
        if len(command) > COMMAND_CHARS_MAX:
            raise item.error(f"{len(command)} characters; expected at most {COMMAND_CHARS_MAX}: put it into a script")
        if "\0" in command:
            raise item.error("a NUL character cannot be part of a command")
        commands.append(command)
    timeout_s = fields["timeout_s"].number(1, TIMEOUT_S_MAX) if "timeout_s" in fields else 3600
    artifact = _artifact(fields["artifact"]) if "artifact" in fields else None
    return Build(name=_name(fields["name"]), commands=commands, timeout_s=timeout_s, artifact=artifact)


def _artifact(value: Value) -> Artifact:
    fields = value.fields(("base_directory", "files"))
    base = _path(fields["base_directory"]) if "base_directory" in fields else "."
    files = [_path(item) for item in _some(fields["files"], FILES_MAX, "files")] if "files" in fields else ["**/*"]
    return Artifact(base_directory=base, files=files)


def _deploy(value: Value) -> Deploy:
    known = ("name", "category", "application", "group", "appspec")
    fields = value.fields(known, ("name", "application", "group"))
    return Deploy(
        name=_name(fields["name"]),
        application=_name(fields["application"]),
        group=_name(fields["group"]),
        appspec=_path(fields["appspec"]) if "appspec" in fields else "appspec.yml",
    )


def _name(value: Value) -> str:
    text = value.text()
    if not NAME.fullmatch(text):
        raise value.error(f"expected a name of 1 to 100 letters, digits and any of . @ _ -, found {text[:120]!r}")
    return text


def _path(value: Value) -> str:
    """A path or pattern that stays inside the working copy."""
    text = value.text()
    parts = text.split("/")
    if text.startswith("/") or ".." in parts or "\\" in text or "\0" in text:
        raise value.error(f"expected a path inside the working copy, with /, without '..', found {text[:200]!r}")
    return "/".join(part for part in parts if part not in ("", ".")) or "."


def _some(value: Value, most: int, what: str) -> list[Value]:
    items = value.items()
    if not 1 <= len(items) <= most:
        raise value.error(f"expected 1 to {most} {what}, found {len(items)}")
    return items


def wants(definition: Definition, ref: str) -> bool:
    """Whether a push to `ref` starts the pipeline."""
    branch = ref.removeprefix("refs/heads/")
    return ref != branch and any(fnmatch.fnmatchcase(branch, pattern) for pattern in definition.branches)


__all__ = ["FILE", "DocumentError", "parse", "wants"]
