from bert_glue.data import tasks
from glue_files import LABELS, OFFICIAL


def test_every_task_is_tested():
    assert set(OFFICIAL) == set(LABELS) == set(tasks.TASKS)


def test_thresholds_of_the_released_code():
    thresholds = {name: task.failed_below for name, task in tasks.TASKS.items()}
    assert {k: v for k, v in thresholds.items() if v is not None} == {
        "rte": 53.0,
        "mrpc": 75.0,
        "cola": 0.0,
    }
