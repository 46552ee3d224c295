"""The volume's errors, as its clients see them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sixfold import errors
from sixfold_events.volume import VolumeCopyAcknowledged
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core import layout, quorum
from sixfold_functions.volume.core.membership import FIRST, Membership


class VolumeError(errors.SixfoldError):
    """Base of the volume's errors."""


class QuorumLostError(VolumeError):
    """Too few copies answer; the message names those that do, and what to do."""

    def __init__(
        self,
        what: str,
        answering: Collection[str],
        *,
        volume: str,
        outcome: str,
        membership: Membership = FIRST,
        joining: Collection[str] = (),
        cause: str = "",
    ) -> None:
        places, sets = membership.member_places, membership.counting
        self.answering = tuple(sorted(answering))
        self.missing = tuple(copy for copy in membership.members if copy not in answering)
        self.joining = tuple(sorted(set(joining) & set(answering)))
        """Copies that answer and do not count: they are new, or lost their logs, and are not level yet."""
        counting = [copy for copy in self.answering if copy not in joining]
        found = f"{len(self.answering)} of {len(places)} copies answer ({layout.describe(self.answering, places)})"
        if self.joining:
            found += f", of which {', '.join(self.joining)} lost their logs and do not count until they are level"
        found += f", so the volume can do {quorum.FOUR_OF_SIX.power(counting, sets).value}"
        need = f"a write needs {quorum.FOUR_OF_SIX.write}{' of each of two sets' if len(sets) > 1 else ''}"
        if quorum.FOUR_OF_SIX.writes(counting, sets):
            answer = f"{len(self.answering)} copies answer ({layout.describe(self.answering, places)})"
            found, need = answer, "it took too long"
        names = " ".join(_names(self.missing, places))
        remedy = f" Start the others: sixfold volume start {names}." if self.missing else ""
        super().__init__(
            f"volume {volume}: {what}: {found}; {need}.{remedy} {outcome}{f' The bus said: {cause}' if cause else ''}"
        )


def _names(copies: Sequence[str], places: layout.Places) -> list[str]:
    """`copies` for people: whole zones by their name."""
    if len(copies) == len(places):
        return ["all"]
    names: list[str] = []
    for zone, members in layout.by_zone(copies, places).items():
        names.extend([zone] if len(members) == len(layout.expand(zone, places)) else members)
    return names


class StaleWriterError(VolumeError):
    """Another writer took the volume over; this one can write no more."""

    def __init__(self, volume: str, writer: str, epoch: int, ack: VolumeCopyAcknowledged) -> None:
        self.successor = ack.writer
        super().__init__(
            f"volume {volume}: writer {writer} (epoch {epochs.text(epoch)}) was superseded by "
            f"{ack.writer or 'another writer'} (epoch {epochs.text(ack.epoch)}), whom copy {ack.copy} obeys now. Appends "
            "that were not acknowledged may or may not be durable: read the volume before appending them again"
        )


class GroupError(VolumeError, errors.UsageError):
    """A group of a volume was about to be written by itself."""

    def __init__(self, group: str) -> None:
        volume = group.rpartition(layout.GROUP)[0]
        super().__init__(
            f"{group} is a group of volume {volume}, and only that volume's writer may write it: sixfold run "
            f"volume.writer --volume {volume}, or in Python `open_writer(bus, volume={volume!r}, …)` of sixfold_functions.volume.groups"
        )


class SpreadError(VolumeError, errors.UsageError):
    """A volume of several groups was about to be used as one of a single group."""

    def __init__(self, volume: str, groups: int) -> None:
        super().__init__(
            f"volume {volume} is spread over {groups} groups, and this is for volumes of one group. `sixfold volume` "
            f"appends to it, reads and follows it and shows its status; name a group, such as {volume}{layout.GROUP}1, to "
            "replace, scrub or stop its copies. In Python import open_writer, open_client, open_replica or "
            "GroupedPageVolume from sixfold_functions.volume.groups. Backups, restores and clones of such a volume are not there yet"
        )


class VolumeLimitError(VolumeError, errors.UsageError):
    """An append is larger than a volume takes; nothing was written."""


class RequestRefusedError(VolumeError):
    """The writer refused an append request; nothing was written."""


class NoWriterError(VolumeError):
    """No writer answered a request; whether one will do what was asked is not known."""


class PartlyAppendedError(VolumeError):
    """A long append ended before its last record; the message says what is durable, and where to go on."""
