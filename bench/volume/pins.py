"""What the Python clients of the peers are made of."""

from __future__ import annotations

UVLOOP = "uvloop==0.23.0"
PINNED: dict[str, tuple[str, ...]] = {
    "etcd": ("grpcio==1.85.3", UVLOOP),
    "mariadb": ("asyncmy==0.2.18", UVLOOP),
}
"""By peer: its client, and the event loop that ours has as well."""
