"""Documentation that can be wrong is tested: the README's commands and tables, event samples, frozen schemas."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec
import pytest
from tests.support import commandline

import sixfold_events
from sixfold import capability, catalogue
from sixfold.cli import references
from sixfold.registry import settings
from sixfold.telemetry import metrics
from sixfold_events import Event, avro, compatibility

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EVENTS = Path(sixfold_events.__file__).parent
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
CLASSES = sorted(catalogue.installed().registry.classes.values(), key=lambda cls: cls.__event__.type)


def commands() -> list[str]:
    """Every line of the README's shell blocks that has a `sixfold …` command, continuation lines joined."""
    lines = [line for kind, text in BLOCKS if kind == "bash" for line in text.replace("\\\n", " ").splitlines()]
    return [line for line in lines if commandline.lines_in(line)]


def test_the_readme_starts_with_the_two_commands_that_a_newcomer_needs() -> None:
    """The first two code blocks are `make demo` and `make test`."""
    assert [text.strip() for _, text in BLOCKS[:2]] == ["make demo", "make test"]


async def test_the_readmes_python_is_code_that_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks as one file, as a reader would put it together: it is imported, and its tests pass."""
    path = tmp_path / "readme_example.py"
    path.write_text("\n\n".join(text for kind, text in BLOCKS if kind == "python"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    references.functions_in(str(path))
    try:
        tests = [value for name, value in vars(sys.modules[path.stem]).items() if name.startswith("test_")]
        assert tests
        for test in tests:
            await test()
    finally:
        del sys.modules[path.stem]


@pytest.mark.parametrize("line", commands())
def test_a_command_in_the_readme_exists_with_its_options(line: str) -> None:
    """Each line shown is one that the command line takes, every part of a pipe."""
    for each in commandline.lines_in(line):
        commandline.check_line(each)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: str(cls.__event__.type))
def test_every_event_type_has_a_sample_that_fits_its_schema(cls: type[Event]) -> None:
    """The sample decodes into the class, and goes through Avro unchanged."""
    path = EVENTS / "samples" / f"{cls.__event__.type}.json"
    assert path.exists(), f"write a sample of {cls.__name__} to {path.relative_to(ROOT)}"
    event = msgspec.json.decode(path.read_bytes(), type=cls)
    assert avro.codec(cls).decode(avro.codec(cls).encode(event)) == event


def test_every_event_type_is_frozen_and_compatible() -> None:
    """What `sixfold schema check` finds, CI finds."""
    problems = compatibility.check(EVENTS / "schemas", CLASSES)
    assert not problems, "\n".join(f"{each.path.relative_to(ROOT)}: {each.message}" for each in problems)


def test_the_readme_lists_every_function_with_its_topics() -> None:
    """The table is what the declarations say."""
    for each in capability.discover():
        for function in capability.functions_of(each):
            topics = ", ".join(f"`{topic}`" for topic in function.topics)
            emits = ", ".join(f"`{cls.__event__.type}`" for cls in function.emits) or "-"
            assert f"| `{function.name}` | {topics} | {emits} |" in README, f"README's table lacks {function.name}"


def test_the_readme_names_every_metric() -> None:
    """Whoever builds a dashboard finds all names in the README."""
    for name in metrics.NAMES:
        assert f"`{name}`" in README, f"README's metrics table lacks {name}"


def test_the_readme_names_every_variable_of_the_registry() -> None:
    """Whoever has a registry finds all settings in the README."""
    for name in settings.VARIABLES:
        assert f"`{settings.PREFIX}{name}`" in README, f"README lacks {settings.PREFIX}{name}"


@pytest.mark.parametrize("each", capability.discover(), ids=lambda each: str(each.name))
def test_every_capability_resolves_and_has_its_design_page(each: capability.Capability) -> None:
    """Nothing that a capability names is missing, and a page says what it guarantees."""
    for reference in filter(
        None, (each.routes, each.commands, each.topics, *(s.run for s in each.services), *each.panels)
    ):
        assert capability.resolve(reference) is not None
    capability.events_of(each)
    if each.functions or each.services or each.routes:
        assert (ROOT / "functions" / "sixfold_functions" / each.name / "DESIGN.md").exists()
