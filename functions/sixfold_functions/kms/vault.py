"""What follows from the root key, opened once per process; or why it could not be opened. There is no third state."""

from __future__ import annotations

import asyncio

import structlog

from sixfold.process import Process
from sixfold_functions.kms import root
from sixfold_functions.kms.keyring import Domain


class Vault:
    """The derived keys of an opened root key. Sealed, each access raises RootKeyError."""

    def __init__(self, opened: root.Root | root.RootKeyError) -> None:
        self._opened = opened
        self._derived: dict[str, bytes] = {}

    @property
    def root(self) -> root.Root:
        """The opened root key. Raises RootKeyError where it could not be opened when the process first needed it."""
        if isinstance(self._opened, root.RootKeyError):
            raise root.RootKeyError(f"{self._opened} (then start this process again)")
        return self._opened

    def session_keys(self) -> tuple[bytes, bytes]:
        """The keys of access keys' secrets and of session tokens."""
        return self._derive("sts"), self._derive("session")

    def domain(self) -> Domain:
        """The key that key material is wrapped under."""
        return Domain(self._derive("domain 1"), self.root.id)

    def _derive(self, purpose: str) -> bytes:
        if purpose not in self._derived:
            self._derived[purpose] = self.root.derive(purpose)
        return self._derived[purpose]


async def open_vault(process: Process) -> Vault:
    """For `ctx.resource`. A failure is kept, so that a wrong passphrase costs one Argon2id, not one a request."""
    try:
        return Vault(await asyncio.to_thread(root.open_or_create, process.data_dir))
    except root.RootKeyError as error:
        structlog.get_logger().error(
            "the root key cannot be opened: every key request is refused", action="kms.sealed", reason=str(error)
        )
        return Vault(error)
