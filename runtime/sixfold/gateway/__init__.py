"""The gateway: one authenticated ASGI app on loopback. Capabilities bring routes, this package brings who may call.

`route.py` is what a capability returns, `app.py` puts all of it together, `credentials.py` knows the callers.
"""

from sixfold.gateway.route import Gateway, Principal, Route

__all__ = ["Gateway", "Principal", "Route"]
