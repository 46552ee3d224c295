"""The front's view of git's wire: a push's commands and the holding back of its report."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sixfold_functions.git import protocol

OLD, NEW = b"a" * 40, b"b" * 40
HEAD = (
    protocol.packet(OLD + b" " + NEW + b" refs/heads/main\0 report-status side-band-64k agent=git/2.39")
    + protocol.packet(OLD + b" " + NEW + b" refs/tags/v1\n")
    + protocol.FLUSH
)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    edges = sorted({min(point, len(data)) for point in points} | {0, len(data)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


@given(st.lists(st.integers(0, len(HEAD) + 8)))
def test_commands_are_read_however_the_bytes_are_cut(points: list[int]) -> None:
    """The refs of a push are known once its head is in, whatever the network's packets; the pack is not looked at."""
    commands = protocol.PushCommands(10_000)
    for part in cut(HEAD + b"PACKzzzz", points):
        commands.feed(part)
    assert (commands.refs, commands.side_band, commands.done) == (["refs/heads/main", "refs/tags/v1"], True, True)


def test_a_head_without_end_is_refused() -> None:
    """A push's list of refs has a limit, so no client fills the memory with it."""
    commands = protocol.PushCommands(1000)
    for _ in range(10):
        commands.feed(protocol.packet(OLD + b" " + NEW + b" refs/heads/x"))
    with pytest.raises(protocol.ProtocolError, match="push fewer"):
        commands.feed(protocol.packet(OLD + b" " + NEW + b" refs/heads/x"))


def test_what_is_no_packet_is_refused() -> None:
    """A body that is no pkt-line stream is named as such."""
    with pytest.raises(protocol.ProtocolError, match="four hex digits"):
        protocol.PushCommands(1000).feed(b"GET / HTTP/1.1")


@given(st.lists(st.integers(0, 200)))
def test_progress_passes_and_the_report_waits(points: list[int]) -> None:
    """Band 2 goes out at once; band 1 and all that ends the answer only when the events are in the log."""
    progress, report = protocol.band(2, "Resolving deltas"), protocol.packet(b"\x01unpack ok\n")
    gate = protocol.ReportGate(10_000)
    gate.side_band = True
    passed = b"".join(gate.feed(part) for part in cut(progress + report + progress + protocol.FLUSH, points))
    assert passed == progress + progress
    assert gate.release() == report + protocol.FLUSH


def test_without_side_bands_nothing_passes_before_the_end() -> None:
    """An old client's answer has the report only; all of it waits."""
    gate = protocol.ReportGate(10_000)
    assert gate.feed(b"000eunpack ok\n0000") == b""
    assert gate.release() == b"000eunpack ok\n0000"
