"""Which runs a process takes on, where several work in one folder."""

import itertools
from collections.abc import Callable, Iterable, Sequence

from bert_glue.records.run_store import RunStore
from bert_glue.training.seeds import Seed


def claim_group(
    records: RunStore,
    run_of: Callable[[Seed], str],
    missing: Sequence[Seed],
    size: int,
    *,
    interrupted: Iterable[Sequence[Seed]],
    is_complete: Callable[[str], bool],
) -> list[Seed]:
    """Takes runs that nobody is at, a group that was interrupted first.

    Args:
      records: the store that keeps the claims.
      run_of: name of a seed's run.
      missing: seeds of which some are to be taken.
      size: most seeds of a new group.
      interrupted: groups that can go on from a checkpoint.
      is_complete: whether a recorded run counts as done.

    Returns:
      The seeds taken; none if all are somebody else's, or done.
    """

    def claim(seed: Seed) -> bool:
        return records.claim(run_of(seed), is_complete)

    for group in interrupted:
        if set(group) <= set(missing):
            # All or none: who gets the first gets the others, too.
            claimed = list(itertools.takewhile(claim, group))
            if len(claimed) == len(group):
                return claimed
            records.release(map(run_of, claimed))
    return list(itertools.islice(filter(claim, missing), size))
