"""A user's own code by name: `module:attribute`, `path/to/file.py`, or `path/to/file.py:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from sixfold import capability, errors
from sixfold.app import App
from sixfold.function import AnyFunction, Function


class AppReferenceError(errors.UsageError):
    """What was named cannot be imported, or holds no function."""


def is_reference(text: str) -> bool:
    """Whether `text` means a user's own code rather than an installed function."""
    return ":" in text or text.endswith(".py")


def functions_in(reference: str) -> tuple[AnyFunction, ...]:
    """The functions that `reference` names: an App's, one Function, all of a module, or a handler in Lambda's shape.

    Such a handler has no topics: it is there to be invoked. Raises AppReferenceError.
    """
    value = value_of(reference)
    if isinstance(value, Function):
        return (value,)
    if isinstance(value, App):
        return value.functions
    if isinstance(value, types.ModuleType):
        apps = [each for each in vars(value).values() if isinstance(each, App)]
        found = tuple(function for app in apps for function in app.functions) or capability.functions_in(value)
        if found:
            return tuple(dict.fromkeys(found))
        raise AppReferenceError(f"{reference}: holds no function; decorate one with @function(on=…)")
    if isinstance(value, types.FunctionType):
        from sixfold.lambdas import lambda_function

        return (lambda_function(value),)
    raise AppReferenceError(f"{reference}: expected a Function, an App or a module, found {type(value).__name__}")


def value_of(reference: str) -> Any:
    """What `module:attribute` or `path/to/file.py:attribute` names. Raises AppReferenceError."""
    place, _, attribute = reference.partition(":")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    if not attribute:
        return module
    value = getattr(module, attribute, None)
    if value is None:
        names = ", ".join(name for name in vars(module) if not name.startswith("_"))
        raise AppReferenceError(f"{reference}: {place} has no {attribute!r}; it has: {names or 'nothing'}")
    return value


def _module(name: str) -> types.ModuleType:
    # A user's module lies in the folder where the command is given, as with `python -m`.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise AppReferenceError(f"{name} cannot be imported: {_said(error)}") from error


def _file(path: Path) -> types.ModuleType:
    path = path.absolute()
    if not path.is_file():
        raise AppReferenceError(f"there is no file {path}")
    name = path.stem.replace("-", "_")
    loaded = sys.modules.get(name)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise AppReferenceError(f"{path} is no Python module")
    module = importlib.util.module_from_spec(spec)
    # Type hints of its event classes are looked up there.
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise AppReferenceError(f"{path} cannot be imported: {_said(error)}") from error
    return module


def _said(error: Exception) -> str:
    """The error with the line that raised it, which is the user's own."""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "importlib" not in frame.filename), None)
    place = f" ({last.filename}:{last.lineno})" if last else ""
    return f"{type(error).__name__}: {error}{place}"
