"""The lifecycle events of a deployment on one instance, in the order in which they run, as a table.

Source: AWS CodeDeploy user guide, "AppSpec hooks section"; aws-codedeploy-agent, `DEFAULT_ORDERED_LIFECYCLE_EVENTS`.
"""

from __future__ import annotations

from typing import NamedTuple


class LifecycleEvent(NamedTuple):
    """One row of the table."""

    name: str
    scriptable: bool
    """An AppSpec may name scripts for it; the others are done by the agent or the load balancer alone."""
    balanced: bool
    """It runs only where a load balancer stands before the group."""
    last_scripts: bool
    """Its scripts come from the last revision that was installed, since the new one is not there yet."""


LIFECYCLE = (
    LifecycleEvent("BeforeBlockTraffic", scriptable=True, balanced=True, last_scripts=True),
    LifecycleEvent("BlockTraffic", scriptable=False, balanced=True, last_scripts=False),
    LifecycleEvent("AfterBlockTraffic", scriptable=True, balanced=True, last_scripts=True),
    LifecycleEvent("ApplicationStop", scriptable=True, balanced=False, last_scripts=True),
    LifecycleEvent("DownloadBundle", scriptable=False, balanced=False, last_scripts=False),
    LifecycleEvent("BeforeInstall", scriptable=True, balanced=False, last_scripts=False),
    LifecycleEvent("Install", scriptable=False, balanced=False, last_scripts=False),
    LifecycleEvent("AfterInstall", scriptable=True, balanced=False, last_scripts=False),
    LifecycleEvent("ApplicationStart", scriptable=True, balanced=False, last_scripts=False),
    LifecycleEvent("ValidateService", scriptable=True, balanced=False, last_scripts=False),
    LifecycleEvent("BeforeAllowTraffic", scriptable=True, balanced=True, last_scripts=False),
    LifecycleEvent("AllowTraffic", scriptable=False, balanced=True, last_scripts=False),
    LifecycleEvent("AfterAllowTraffic", scriptable=True, balanced=True, last_scripts=False),
)

IN_PLACE = tuple(event for event in LIFECYCLE if not event.balanced)
"""The seven events of an in-place deployment without a load balancer."""

IN_PLACE_NAMES = tuple(event.name for event in IN_PLACE)
SCRIPTABLE = tuple(event.name for event in LIFECYCLE if event.scriptable)
UNSCRIPTABLE = tuple(event.name for event in LIFECYCLE if not event.scriptable)
