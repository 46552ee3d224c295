"""What the registry refuses, with the error codes that clients of Confluent's API look at.

A code's first three digits are the HTTP status. Source: Confluent Schema Registry API Reference, Errors.
"""

from __future__ import annotations

from collections.abc import Iterable


class RefusedError(Exception):
    """A request that cannot be done as asked."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """The HTTP status."""
        return int(str(self.code)[:3])


def no_subject(subject: str) -> RefusedError:
    return RefusedError(40401, f"Subject '{subject}' not found.")


def no_version(version: object) -> RefusedError:
    return RefusedError(40402, f"Version {version} not found.")


def no_schema(which: object = "") -> RefusedError:
    return RefusedError(40403, f"Schema {which} not found" if which != "" else "Schema not found")


def subject_deleted(subject: str) -> RefusedError:
    return RefusedError(40404, f"Subject '{subject}' was soft deleted. Set permanent=true to delete permanently")


def subject_not_deleted(subject: str) -> RefusedError:
    return RefusedError(40405, f"Subject '{subject}' was not deleted first before being permanently deleted")


def version_deleted(subject: str, version: int) -> RefusedError:
    return RefusedError(
        40406, f"Subject '{subject}' Version {version} was soft deleted. Set permanent=true to delete permanently"
    )


def version_not_deleted(subject: str, version: int) -> RefusedError:
    return RefusedError(
        40407, f"Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
    )


def no_compatibility(subject: str) -> RefusedError:
    return RefusedError(40408, f"Subject '{subject}' does not have subject-level compatibility configured")


def no_mode(subject: str) -> RefusedError:
    return RefusedError(40409, f"Subject '{subject}' does not have subject-level mode configured")


def invalid_schema(why: str) -> RefusedError:
    return RefusedError(42201, f"Invalid schema: {why}")


def invalid_version(version: str) -> RefusedError:
    return RefusedError(
        42202,
        f"The specified version '{version}' is not a valid version id. Allowed values are between [1, 2^31-1] "
        'and the string "latest"',
    )


def invalid_level(level: object, known: Iterable[str]) -> RefusedError:
    return RefusedError(42203, f"Invalid compatibility level {level!r}. Valid values are {', '.join(known)}")


def invalid_mode(mode: object, known: Iterable[str]) -> RefusedError:
    return RefusedError(42204, f"Invalid mode {mode!r}. Valid values are {', '.join(known)}")


def not_permitted(why: str) -> RefusedError:
    return RefusedError(42205, why)


def invalid_subject(subject: str) -> RefusedError:
    return RefusedError(42208, f"The specified subject '{subject}' is not a valid subject")


def incompatible(subject: str, reasons: Iterable[object]) -> RefusedError:
    return RefusedError(
        409,
        f'Schema being registered is incompatible with an earlier schema for subject "{subject}": '
        + "; ".join(map(str, reasons)),
    )
