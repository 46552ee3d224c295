"""How asking a registry may end badly. Apart from the client, so that whoever only handles these need not load it."""

from __future__ import annotations

from sixfold import errors


class RegistryError(errors.SixfoldError):
    """The registry refused; `status` is HTTP's, `code` the registry's own (0 where it gave none)."""

    def __init__(self, message: str, *, status: int = 0, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class NotRegisteredError(RegistryError):
    """There is no such subject, version or schema."""


class IncompatibleError(RegistryError):
    """The subject's compatibility does not allow the schema."""


class RegistryUnavailableError(errors.TemporaryError):
    """No registry answers; trying again later may help."""
