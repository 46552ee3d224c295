"""The frames of a copy's segments, encrypted and decrypted: all that the segment log knows of encryption.

Which a segment is stands in the first entry of its first frame, in clear. In an encrypted one the entries of each frame
are one entry ENCRYPTED, bound to copy, segment, position and sequence; magic, length, CRC and sequence stay outside, so
that torn tails are cut and damage is found without a key. A segment that was written anew is of chunks (`chunked.py`)
and shows itself as what it was, frame by frame in plain.
"""

from __future__ import annotations

import collections
from collections.abc import Sequence

import msgspec

from sixfold_functions.volume import disk as disks
from sixfold_functions.volume import files, frames
from sixfold_functions.volume.encryption import chunked, envelope
from sixfold_functions.volume.encryption.keyring import Keyring

CIPHERS_MAX = files.OPEN_MAX
"""Segments whose cipher is in memory: as many as are open."""
FORMAT_PLAIN, FORMAT_ENCRYPTED = 2, 3
_FRAME = b"frame"
_IN_CLEAR = (frames.Kind.SEGMENT, frames.Kind.SEALED)
OVERHEAD_BYTES = frames.ENTRY_HEAD_BYTES + envelope.OVERHEAD_BYTES
"""What an encrypted frame is longer than the same one in plain."""


class Sealing:
    """Encrypts and decrypts the segments of the copy `label`."""

    def __init__(self, keyring: Keyring, label: str) -> None:
        self.keyring = keyring
        self._label = label
        self._ciphers: collections.OrderedDict[int, envelope.FileCipher | None] = collections.OrderedDict()

    def name(self, segment: int) -> str:
        """What a segment's key is bound to."""
        return chunked.name_of(self._label, segment)

    def wrapped(self, segment: int, file: disks.File) -> disks.File:
        """`file` as the segment log reads it."""
        return chunked.opened(file, segment, self._label, self.keyring)

    def about(self, segment: int) -> bytes:
        """The first entry of a new segment, which is encrypted from now on, or not."""
        begun = self.keyring.begin(self.name(segment))
        made, cipher = begun if begun is not None else (None, None)
        self._remember(segment, cipher)
        return msgspec.json.encode(
            chunked.About(
                format=FORMAT_PLAIN if made is None else FORMAT_ENCRYPTED,
                label=self._label,
                segment=segment,
                envelope=made,
                reencrypt=self.keyring.reencrypt and made is not None,
            )
        )

    def sealed(
        self, segment: int, file: disks.File, sequence: int, entries: Sequence[frames.Entry]
    ) -> Sequence[frames.Entry]:
        """The entries of the frame that comes next in `file`, as they are written."""
        cipher = self._cipher(segment, file)
        if cipher is None or entries[0].kind is frames.Kind.SEALED:
            return entries  # a seal says its position only, and is checked at a start without the segment's key
        clear = [entry for entry in entries if entry.kind in _IN_CLEAR]
        plaintext = frames.encode_entries(entry for entry in entries if entry.kind not in _IN_CLEAR)
        data = cipher.seal(_FRAME, file.size(), sequence, 0, plaintext)
        return [*clear, frames.Entry(frames.Kind.ENCRYPTED, -1, data)]

    def opened(self, segment: int, file: disks.File, position: int, frame: frames.Frame) -> frames.Frame | None:
        """A frame of `file` as it was before it was encrypted; None where it was not written here, or was changed.

        Raises KeyMissingError, KeyWrongError, LogForeignError.
        """
        cipher = self._learn(segment, frame) if position == 0 else self._cipher(segment, file)
        encrypted = frame.entries[-1] if frame.entries[-1].kind is frames.Kind.ENCRYPTED else None
        if cipher is None:
            return frame if encrypted is None else None
        clear = frame.entries if encrypted is None else frame.entries[:-1]
        allowed = frames.Kind.SEALED if encrypted is None else frames.Kind.SEGMENT
        if any(entry.kind is not allowed for entry in clear):
            return None  # it says in clear what must be encrypted in this segment
        if encrypted is None:
            return frame
        plaintext = cipher.open(_FRAME, position, frame.sequence, 0, encrypted.data)
        if plaintext is None:
            return None
        return frame._replace(entries=[*clear, *frames.decode_entries(plaintext)])

    def forget(self, segment: int) -> None:
        """The segment's file is another one now."""
        self._ciphers.pop(segment, None)

    def _cipher(self, segment: int, file: disks.File) -> envelope.FileCipher | None:
        if segment in self._ciphers:
            self._ciphers.move_to_end(segment)
            return self._ciphers[segment]
        return self._learn(segment, chunked.first_frame(file))

    def _learn(self, segment: int, head: frames.Frame | None) -> envelope.FileCipher | None:
        about = chunked.about_of(head)
        if about is not None and about.label != self._label:
            raise files.LogForeignError(
                f"{self.name(segment)}: the file belongs to {about.label}, expected {self._label}; give each copy its "
                "own folder"
            )
        made = about.envelope if about is not None else None
        return self._remember(segment, None if made is None else self.keyring.open(made, self.name(segment)))

    def _remember(self, segment: int, cipher: envelope.FileCipher | None) -> envelope.FileCipher | None:
        self._ciphers[segment] = cipher
        self._ciphers.move_to_end(segment)
        while len(self._ciphers) > CIPHERS_MAX:
            self._ciphers.popitem(last=False)
        return cipher
