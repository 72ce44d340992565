"""What models are told apart by."""

from __future__ import annotations

import hashlib
from pathlib import Path

# Of a large file this many pieces of so many bytes are looked at, evenly spread.
PIECES, PIECE_BYTES = 64, 4096


def model_fingerprint(folder: Path) -> str:
    """Tells models apart without reading all their weights: other training, parts or element types change it.

    A hash of the names and sizes of all configurations and weights, of small files whole and of large ones in pieces.
    """
    found = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in (".json", ".safetensors")):
        size = path.stat().st_size
        found.update(f"{path.relative_to(folder).as_posix()} {size}\n".encode())
        with open(path, "rb") as file:
            if size <= PIECES * PIECE_BYTES:
                found.update(file.read())
            else:
                for piece in range(PIECES):
                    file.seek((size - PIECE_BYTES) * piece // (PIECES - 1))
                    found.update(file.read(PIECE_BYTES))
    return found.hexdigest()[:32]
