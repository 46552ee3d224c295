"""AWS services as botocore's models describe them: operations, shapes, limits, errors.

botocore reads them from files that come with it (Apache-2.0, made by AWS); each is read once, when a gateway first
needs it. Nothing here opens a connection.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel


@functools.cache
def service(name: str) -> ServiceModel:
    """The model of a service by botocore's name for it (`kms`, `sts`)."""
    return ServiceModel(Loader().load_service_model(name, "service-2"), name)


class Address(NamedTuple):
    """How a request names its service: the target's prefix of JSON protocols, the version of the query protocol."""

    protocol: str
    version: str


def address_of(model: ServiceModel) -> Address:
    """Where the requests of a service's clients are found out."""
    protocol = str(model.metadata["protocol"])
    return Address(protocol, str(model.metadata["targetPrefix" if protocol == "json" else "apiVersion"]))


class Services:
    """The services that a gateway answers for."""

    def __init__(self, names: Iterable[str]) -> None:
        self._models = {address_of(model): model for model in map(service, names)}

    def find(self, address: Address) -> ServiceModel | None:
        """The service that a request means."""
        return self._models.get(address)

    def operation(self, address: Address, name: str) -> OperationModel | None:
        """The operation that a request means."""
        model = self.find(address)
        return model.operation_model(name) if model is not None and name in model.operation_names else None
