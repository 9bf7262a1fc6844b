"""What a terminal is given."""

from bert_glue.devices.terminal import printable


def test_nothing_that_a_terminal_obeys():
    assert printable("größer\n\t± 1") == "größer\n\t± 1"
    obeyed = "".join(map(chr, [*range(9), *range(11, 32), *range(127, 160)]))
    shown = printable(f"a{obeyed}b\u202e\udc80")
    assert shown.isprintable()
    assert "\\x1b" in shown
    shown.encode()
