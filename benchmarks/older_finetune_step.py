"""Another checkout's side of ``finetune_step.py``, on a model of MiniLM's sizes.

See ``torch_peer.py`` for what it reads and prints; a variant is a length of the batch.
"""

import json
import sys


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    tree = settings["tree"]
    # Before this folder, whose script has the same name.
    sys.path[:0] = [tree, f"{tree}/examples", f"{tree}/benchmarks"]
    import finetune_step

    training = finetune_step.Training(finetune_step.MINILM, settings["batch"])
    timers = {str(length): training.timer(length) for length in settings["lengths"]}
    print(json.dumps([tree, list(timers)]), flush=True)
    for line in sys.stdin:
        print(timers[line.strip()](), flush=True)


if __name__ == "__main__":
    main()
