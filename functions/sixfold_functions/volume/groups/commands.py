"""`sixfold volume create` and `sixfold volume plan`: volumes that are spread over groups."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sixfold import errors
from sixfold.cli import common
from sixfold.supervisor import control
from sixfold_functions.volume import drawing, roster
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.core.membership import FIRST
from sixfold_functions.volume.core.plan import STRIPE, Plan, PlanError
from sixfold_functions.volume.groups import plans
from sixfold_functions.volume.groups.client import GroupedState

GroupsOption = Annotated[int, typer.Option("--groups", help="How many groups of six copies each.")]
StripeOption = Annotated[
    int, typer.Option("--stripe", help="So many pages (or records) that follow each other lie in one group.")
]
PagesOption = Annotated[int, typer.Option("--page-bytes", help="Size of a page; 0 for plain records.")]


class GroupPlan(msgspec.Struct, frozen=True, kw_only=True):
    """One group of a plan."""

    group: str
    """Its name as a volume."""
    first: int
    """The first page, or volume LSN, of its first stripe."""
    last: int
    copies: dict[str, list[str]]
    """By zone."""


class PlanView(msgspec.Struct, frozen=True, kw_only=True):
    """A plan as it is printed."""

    volume: str
    exists: bool
    stripe: int
    page_bytes: int
    """0 for plain records."""
    groups: list[GroupPlan]


def create(
    ctx: typer.Context,
    volume: Annotated[str, typer.Argument(help="Its name: small letters, digits, hyphens.")],
    groups: GroupsOption = 2,
    stripe: StripeOption = STRIPE,
    page_bytes: PagesOption = 0,
    as_json: common.JsonOption = False,
) -> None:
    """Make a volume that is spread over several groups of six copies; a running system starts its processes.

    Doing it again changes nothing. What it would be: sixfold volume plan. A plan never changes later.

    Example:  sixfold volume create orders --groups 2
    """
    plan = Plan(volume=volume, groups=groups, stripe=stripe, page_bytes=page_bytes)
    view, note = common.run(_create(ctx, plan))
    common.show(view, as_json=as_json, render=lambda: drawn(view))
    if note and not as_json:
        common.errors.print(note)


async def _create(ctx: typer.Context, plan: Plan) -> tuple[PlanView, str]:
    async with common.process(ctx) as process:
        bus = process.require_bus()
        await plans.create(bus, process.registry, plan, clock=process.clock)
        view = await _view(ctx, plan, exists=True)
    names = [
        f"volume.storage.{each.group}.{copy}"
        for each in view.groups
        for copies in each.copies.values()
        for copy in copies
    ]
    try:
        await control.request(common.settings(ctx).data_dir, "start", [*names, f"volume.writer.{plan.volume}"])
    except errors.SixfoldError as error:
        return view, f"its {len(names)} copies and its writer start with the system (sixfold up): {error}"
    return view, ""


def show_plan(
    ctx: typer.Context,
    volume: Annotated[str, typer.Option("--volume", help="Which volume.")] = layout.DEFAULT_VOLUME,
    groups: Annotated[int | None, typer.Option("--groups", help="Of a volume that is to be made.")] = None,
    stripe: StripeOption = STRIPE,
    page_bytes: PagesOption = 0,
    as_json: common.JsonOption = False,
) -> None:
    """Print how a volume is spread over groups: which has which pages or records, and where its copies are.

    With --groups that of a volume which does not exist yet; nothing is made.

    Example:  sixfold volume plan --volume orders --groups 3
    """
    given = None if groups is None else Plan(volume=volume, groups=groups, stripe=stripe, page_bytes=page_bytes)
    view = common.run(_plan(ctx, volume, given))
    common.show(view, as_json=as_json, render=lambda: drawn(view))


async def _plan(ctx: typer.Context, volume: str, given: Plan | None) -> PlanView:
    if given is not None:
        try:
            return await _view(ctx, given.check(), exists=False)
        except PlanError as error:
            raise errors.UsageError(f"volume {volume}: {error}") from None
    async with common.process(ctx) as process:
        found = await plans.find(process.require_bus(), process.registry, volume)
    if found is None and volume != layout.DEFAULT_VOLUME:
        raise errors.UsageError(
            f"volume {volume} is not spread over groups, or does not exist; make it: sixfold volume create {volume} "
            "--groups 2, or look at what it would be: sixfold volume plan --groups 2"
        )
    return await _view(ctx, found or Plan(volume=volume, groups=1), exists=True)


async def _view(ctx: typer.Context, plan: Plan, *, exists: bool) -> PlanView:
    """With the copies that each group has now, or will begin with."""
    groups = []
    for stripe in plan.stripes():
        alone = plan.groups == 1
        name = plan.volume if alone else plan.volume_of(stripe.group)
        membership = FIRST
        if exists:
            async with common.process(ctx) as process:
                bus = process.require_bus()
                if layout.topics(name).members in await bus.topics():
                    membership = (await roster.load(bus, process.registry, name))[0].membership
        copies = layout.by_zone(membership.members, membership.places)
        groups.append(GroupPlan(group=name, first=stripe.first, last=stripe.last, copies=copies))
    return PlanView(volume=plan.volume, exists=exists, stripe=plan.stripe, page_bytes=plan.page_bytes, groups=groups)


def drawn(view: PlanView) -> RenderableType:
    """A table of the groups."""
    what = f"pages of {view.page_bytes} bytes" if view.page_bytes else "records, by volume LSN"
    many = len(view.groups) > 1
    table = Table(box=None, header_style="bold")
    table.add_column("Group")
    if many:
        table.add_column("Pages" if view.page_bytes else "Records")
    for zone in layout.ZONES:
        table.add_column(f"Zone {zone}")
    every = f", and every {view.stripe * len(view.groups)} on"
    for group in view.groups:
        where = [f"{group.first} to {group.last}{every}"] if many else []
        table.add_row(group.group, *where, *(", ".join(group.copies[zone]) for zone in layout.ZONES))
    title = f"volume {view.volume}{'' if view.exists else ' (does not exist yet)'}: {what}, {len(view.groups)} group{'s'[:many]}"
    return Group(Text(title, style="bold"), table)


def state(found: GroupedState) -> RenderableType:
    """The groups, one below the other."""
    verdict = ("writes and reads", "green") if found.writable else ("no writes", "red")
    line = Text.assemble(
        (f"volume {found.volume}", "bold"),
        f": {len(found.groups)} groups, durable to LSN {found.durable_lsn}: ",
        verdict,
    )
    return Group(line, *(drawing.volume(each) for each in found.groups))


def add_to(app: typer.Typer) -> None:
    """The commands of `sixfold volume` about plans."""
    app.command()(create)
    app.command("plan")(show_plan)
