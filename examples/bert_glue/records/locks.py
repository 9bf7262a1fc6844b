"""Locks that let several processes share a folder, and that die with their process."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

_TRIES = 100


class Claims:
    """Names that one process at a time may hold, in a folder.

    Each name is a file with an advisory lock (``flock``), so a claim ends with its
    process, however that ends; it never has to be cleaned up by hand.

    Args:
      folder: where the files are; made when the first name is claimed.

    Examples:
      >>> import tempfile
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     mine, yours = Claims(pathlib.Path(folder)), Claims(pathlib.Path(folder))
      ...     taken = mine.take("run-1"), yours.take("run-1")
      ...     mine.release("run-1")
      ...     later = yours.take("run-1")
      ...     yours.release("run-1")
      >>> taken, later
      ((True, False), True)
    """

    def __init__(self, folder: pathlib.Path) -> None:
        self._folder = folder
        self._files: dict[str, int] = {}

    def take(self, name: str) -> bool:
        """Claims a name, without waiting.

        Args:
          name: anything that can be a file's name.

        Returns:
          Whether the name is now held by this object; False if it was held already,
          here or by another process.
        """
        if name in self._files:
            return False
        path = self._folder / name
        while True:
            file = self._open(path)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(file)
                return False
            except BaseException:
                os.close(file)
                raise
            if _is_open_at(file, path):
                self._files[name] = file
                return True
            # Its last holder removed the file between our opening and locking it.
            os.close(file)

    def _open(self, path: pathlib.Path) -> int:
        """Opens a file of the folder, which others remove when it is empty."""
        tries = 0
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                return os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            except (FileExistsError, FileNotFoundError):
                # Removed while mkdir looked at it, or before the file was opened.
                tries += 1
                if tries == _TRIES:
                    raise

    def release(self, name: str) -> None:
        """Gives a claimed name back; nothing happens if it is not held."""
        file = self._files.pop(name, None)
        if file is None:
            return
        # Removed while still locked, so that nobody can lose a newer holder's file.
        (self._folder / name).unlink(missing_ok=True)
        os.close(file)

    def release_all(self) -> None:
        """Gives everything back, and removes what killed processes have left."""
        for name in list(self._files):
            self.release(name)
        with contextlib.suppress(OSError):
            for path in list(self._folder.iterdir()):
                if self.take(path.name):
                    self.release(path.name)
            self._folder.rmdir()


@contextlib.contextmanager
def exclusive(path: pathlib.Path) -> Iterator[None]:
    """Holds a lock on a file while the block runs; waits for it if need be.

    Args:
      path: file to lock; made if it does not exist, and left there.

    Yields:
      Nothing.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _is_open_at(file: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
