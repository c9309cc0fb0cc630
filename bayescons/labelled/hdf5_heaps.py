"""The bytes of an HDF5 file as h5py asks for them, with one check on the way.

Text of attributes and lists of axes lie in global heaps, chains of objects. Of some that are
damaged the HDF5 library (2.0.0, *seen*) does not come back, and no signal ends it. So heaps are
walked here, to their end, before the library does.
"""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

HEAP = re.compile(rb"GCOL\x01\0\0\0")
HEAD = 16  # bytes of the head of a heap, and of the head of each object in it
LARGEST = 2**20  # bytes; what the library reads in one go for itself, rather than for an array


class CheckedFile(io.RawIOBase):
    """A file that is read, and in which the library meets sound heaps only: a damaged one loses its
    signature, and is refused by the library itself. Nothing is raised, since
    that would go through the library's own code.
    """

    def __init__(self, path: Path):
        self._file = open(path, "rb")  # noqa: SIM115 - closed by `close`
        self._size = os.fstat(self._file.fileno()).st_size
        self._sound: set[int] = set()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place, the end of the file at most."""
        return self._file.seek(min(offset, self._size), whence)

    def tell(self) -> int:
        """The place."""
        return self._file.tell()

    def readinto(self, buffer) -> int:
        """Fill a buffer from the place on; gives the number of bytes read."""
        start = self._file.tell()
        count = self._file.readinto(buffer)
        if count <= LARGEST:
            view = memoryview(buffer).cast("B")
            for at in [found.start() for found in HEAP.finditer(view[:count])]:
                if not self._is_sound(start + at):
                    view[at : at + 4] = bytes(4)
        return count

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _is_sound(self, start: int) -> bool:
        if start in self._sound:
            return True
        here = self._file.tell()
        self._file.seek(start)
        size = int.from_bytes(self._file.read(HEAD)[8:], "little")
        heap = self._file.read(size - HEAD) if HEAD <= size <= self._size - start else b""
        self._file.seek(here)
        at = 0
        while at + HEAD <= len(heap):
            step = _step(heap[at : at + HEAD])
            if not step or at + step > len(heap):
                return False
            at += step
        self._sound.add(start)
        return True


def _step(head: bytes) -> int:
    """Bytes from an object of a heap to the next one: number, references, length."""
    number, length = (int.from_bytes(head[part], "little") for part in (slice(2), slice(8, 16)))
    return HEAD + (length + 7) // 8 * 8 if number else length
