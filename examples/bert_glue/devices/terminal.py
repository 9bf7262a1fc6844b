"""What is printed, without what a terminal would obey."""


def printable(text: str) -> str:
    r"""Text whose control characters are written out, but for ends of lines and tabs.

    Args:
      text: to print; names of files and classes come from outside.

    Returns:
      The text.

    Examples:
      >>> printable("red: \x1b[31m")
      'red: \\x1b[31m'
    """
    # Half of a surrogate pair, as in names of files that are not UTF-8, is none either.
    return "".join(
        mark if mark.isprintable() or mark in "\n\t" else ascii(mark)[1:-1]
        for mark in text
    )
