"""What a file is by its first bytes, where another kind was expected."""

import pathlib

_KINDS = {
    b"\x1f\x8b": "packed by gzip; unpack it first",
    b"PK\x03\x04": "a zip archive or an Excel workbook; save it as CSV",
    b"\xd0\xcf\x11\xe0": "an Excel workbook; save it as CSV",
    b"PAR1": "Parquet; end its name in .parquet",
    b"version https://git-lfs": "a pointer of Git LFS; `git lfs pull` gets the file",
}


def foreign_file(path: pathlib.Path) -> str | None:
    """As :func:`foreign_kind`, of a file, of which only the beginning is read."""
    with path.open("rb") as file:
        return foreign_kind(file.read(max(map(len, _KINDS))))


def foreign_kind(content: bytes) -> str | None:
    """Names a kind of file that is neither text nor weights.

    Args:
      content: the file's first bytes, or all of them.

    Returns:
      What the file is and what to do about it; None for any other.

    Examples:
      >>> foreign_kind(b"PAR1...")
      'Parquet; end its name in .parquet'
    """
    kinds = (kind for mark, kind in _KINDS.items() if content.startswith(mark))
    return next(kinds, None)
