"""Drawing a volume for people: six copies side by side in their zones, and the durable line."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from sixfold_functions.volume.client import ReadResult
from sixfold_functions.volume.core import layout, quorum
from sixfold_functions.volume.status import CopyState, ReplicaState, VolumeState

BAR_ROWS = 6
ZONE_COLUMNS = 26
"""Three zones side by side fit into a terminal of 80 columns."""
NARROW_COLUMNS, WIDE_COLUMNS = 22, 32
"""The same while one of them has a third copy."""
TABLE_ROWS_MAX = 1000
PAGE_ROWS = 5000
_COLOURS = {
    "up": "green",
    "catching up": "yellow",
    "older epoch": "yellow",
    "joining": "magenta",
    "down": "red",
    "damaged": "magenta",
}


def volume(state: VolumeState) -> RenderableType:
    """The volume as a picture: each bar is a copy with its LSN and how far it is behind, `━` the durable line."""
    highest = max([state.durable_lsn, 1, *(copy.complete_lsn for copy in state.copies)])
    zones = Table.grid(padding=(0, 1))
    zones.add_row(*(_zone(zone, state, highest) for zone in layout.ZONES))
    verdict = (
        Text("writes and reads", style="green")
        if state.writable
        else Text(
            f"no writes: {state.answering} of {len(state.copies)} copies answer{_joining(state)}, "
            f"a write needs {quorum.FOUR_OF_SIX.write}; sixfold volume start all",
            style="red",
        )
    )
    line = Text.assemble(
        ("━━ ", "bold cyan"), f"durable to LSN {state.durable_lsn}", f", epoch {state.epoch}: ", verdict
    )
    replicas = [_replica(replica) for replica in state.replicas]
    lines = [line, *_kept(state), *_change(state), *replicas]
    return Group(Text(f"volume {state.volume}", style="bold"), zones, *lines)


def _kept(state: VolumeState) -> list[Text]:
    """From where on records are kept, where that is not the first, and what the logs take."""
    sizes = [copy.log_bytes for copy in state.copies if copy.log_bytes is not None]
    firsts = [copy.first_lsn for copy in state.copies if copy.first_lsn is not None]
    if max(firsts, default=1) == 1:
        return []
    text = f"records are kept from LSN {min(firsts)} on, by all from {max(firsts)} on; a copy's log takes "
    return [Text.assemble(("▤  ", "bold blue"), text, f"{max(sizes) / 1_000_000:,.1f} MB at most")]


def _change(state: VolumeState) -> list[Text]:
    """The replacement that is under way, or the rest of one."""
    if not state.replaced:
        return [] if state.settled else [Text("⇄  a change of the copies waits for a write quorum", style="yellow")]
    (new,) = (copy for copy in state.copies if copy.copy == state.replacement)
    percent = 100 * min(new.complete_lsn, state.durable_lsn) // max(state.durable_lsn, 1)
    text = f"{state.replacement} replaces {state.replaced}: it has {percent} % of the records; both sets of six count"
    return [Text.assemble(("⇄  ", "bold yellow"), text)]


def _replica(replica: ReplicaState) -> Text:
    lag = "lag not measured yet" if replica.lag_ms is None else f"lag {replica.lag_ms:.1f} ms"
    behind = f"{replica.lag} records behind" if replica.lag else "level"
    where = f" in zone {replica.zone}" if replica.zone else ""
    text = f"replica {replica.replica}{where}: at LSN {replica.applied_lsn}, {behind}, {lag}, follows {replica.copy}"
    return Text.assemble(("◇  ", "bold magenta"), text)


def _joining(state: VolumeState) -> str:
    names = [copy.copy for copy in state.copies if copy.state == "joining"]
    return (
        f" ({', '.join(names)} {'are new or ' if state.replaced else ''}lost their logs and do not count until they are level)"
        if names
        else ""
    )


def _zone(zone: str, state: VolumeState, highest: int) -> RenderableType:
    copies = Table.grid(padding=(0, 1))
    copies.add_row(*(_copy(copy, state.durable_lsn, highest) for copy in state.copies if copy.zone == zone))
    widths = (ZONE_COLUMNS, ZONE_COLUMNS) if not state.replaced else (NARROW_COLUMNS, WIDE_COLUMNS)
    width = widths[len(copies.columns) > 2]
    return Panel(copies, title=f"zone {zone}", border_style="dim", padding=0, width=width)


def _copy(copy: CopyState, durable_lsn: int, highest: int) -> RenderableType:
    colour = _COLOURS.get(copy.state, "white")
    filled = 0 if not copy.complete_lsn else max(1, round(copy.complete_lsn / highest * BAR_ROWS))
    durable = 0 if not durable_lsn else max(1, round(durable_lsn / highest * BAR_ROWS))
    rows: list[Text] = [Text(copy.copy, style="bold")]
    for row in range(BAR_ROWS, 0, -1):
        block = "████" if row <= filled else "░░░░"
        edge = Text("━━", style="bold cyan") if row == durable else Text("  ")
        rows.append(Text.assemble(edge, (block, colour if row <= filled else "dim"), edge))
    rows.append(Text(copy.state, style=colour))
    rows.append(Text(f"{copy.complete_lsn}"))
    rows.append(Text(f"-{copy.lag}" if copy.lag else "", style="yellow"))
    return Group(*rows)


def records(found: ReadResult) -> RenderableType:
    """Records with their LSNs; bytes that are no text in Python's notation."""
    if not found.payloads:
        return Text(f"nothing is durable from LSN {found.first_lsn} on")
    table = Table(title=f"from copy {found.copy}", title_justify="left", box=None)
    table.add_column("LSN", no_wrap=True)
    table.add_column("Record", overflow="fold")
    for index, payload in enumerate(found.payloads):
        table.add_row(str(found.first_lsn + index), Text(_text(payload)))
    return table


def pages(found: ReadResult) -> Iterator[str]:
    """Many records as plain lines, some thousand at a time: a table of a million rows would take minutes."""
    yield f"from copy {found.copy}"
    for start in range(0, len(found.payloads), PAGE_ROWS):
        page = found.payloads[start : start + PAGE_ROWS]
        yield "\n".join(line(found.first_lsn + start + index, each) for index, each in enumerate(page))


def line(lsn: int, record: bytes) -> str:
    """A record with its LSN."""
    return f"{lsn:>9}  {_text(record)}"


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        return repr(payload)
