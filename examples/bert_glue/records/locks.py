"""Locks that let several processes share a folder, and that die with their process.

Where the file system has ``flock`` the system lets go of a lock at the end of its
process. Some file systems of clusters have not. There a lock is a file that its holder
touches every 20 seconds: it passes to whoever has seen it untouched for a minute, or,
on the holder's own machine, has seen its process gone. A holder that was only stopped
for so long loses it, so that a run may be done twice; the record of the first counts.
"""

import contextlib
import errno
import functools
import pathlib
import tempfile

import filelock

LEASE_SECONDS = 60.0
_LEASE = ".lease"
_NO_FLOCK = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_TRIES = 100


class Claims:
    """Names that one process at a time may hold, in a folder.

    Each name is a file with a lock, so a claim ends with its process, however that
    ends; it never has to be cleaned up by hand.

    Args:
      folder: where the files are; made when the first name is claimed.

    Examples:
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
        # Those of others, too: a lease remembers since when it has seen no change.
        self._locks: dict[str, filelock.BaseFileLock] = {}

    def take(self, name: str) -> bool:
        """Claims a name, without waiting.

        Args:
          name: anything that can be a file's name.

        Returns:
          Whether the name is now held by this object; False if it was held already,
          here or by another process.
        """
        tries = 0
        while True:
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                if name not in self._locks:
                    self._locks[name] = exclusive(self._folder / name)
                if self._locks[name].is_locked:
                    return False
                self._locks[name].acquire(blocking=False)
                return True
            except filelock.Timeout:
                return False
            except (FileExistsError, FileNotFoundError):
                # Others remove the folder when it is empty: while mkdir looked at it,
                # or before the file was opened.
                tries += 1
                if tries == _TRIES:
                    raise

    def release(self, name: str) -> None:
        """Gives a claimed name back; nothing happens if it is not held."""
        lock = self._locks.pop(name, None)
        if lock is not None and lock.is_locked:
            # Removed while still locked, so that nobody can lose a newer holder's file.
            if not isinstance(lock, filelock.SoftFileLease):
                (self._folder / name).unlink(missing_ok=True)
            lock.release()

    def release_all(self) -> None:
        """Gives everything back, and removes what killed processes have left."""
        for name in list(self._locks):
            self.release(name)
        with contextlib.suppress(OSError):
            names = [path.name.removesuffix(_LEASE) for path in self._folder.iterdir()]
            for name in filter(self.take, names):
                self.release(name)
            self._folder.rmdir()


def exclusive(path: pathlib.Path) -> filelock.BaseFileLock:
    """A lock that dies with its process, of the kind that the file system allows.

    Args:
      path: file to lock; made if it does not exist, and perhaps left there.

    Returns:
      The lock: a context manager that waits for it, and holds it.
    """
    if _has_flock(path.parent):
        return filelock.FileLock(path, thread_local=False, fallback_to_soft=False)
    # Files that flock was used on stay, empty, and would count as held for good.
    path = path.with_name(path.name + _LEASE)
    return filelock.SoftFileLease(
        path, lease_duration=LEASE_SECONDS, thread_local=False
    )


@functools.cache
def _has_flock(folder: pathlib.Path) -> bool:
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            filelock.lock_descriptor(file.fileno(), blocking=False)
        except OSError as error:
            if error.errno not in _NO_FLOCK:
                raise
            return False
    return True
