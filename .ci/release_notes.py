"""Prints what the changelog says of the release that a tag is for.

Ends with an error unless the tag is ``v`` and the version that the library has, and
changelog and citation know that version.

    python .ci/release_notes.py v0.1.0
"""

import argparse
import pathlib
import re

PROJECT = pathlib.Path(__file__).resolve().parents[1]


def release_notes(tag: str, project: pathlib.Path = PROJECT) -> str:
    """Returns the section of CHANGELOG.md, or raises ValueError."""
    module = (project / "cwgnc_jax" / "__init__.py").read_text()
    version = re.findall(r'^__version__ = "(.+)"$', module, re.MULTILINE)[0]
    if tag != f"v{version}":
        raise ValueError(f"the tag is {tag}, the version of cwgnc_jax {version}")
    citation = (project / "CITATION.cff").read_text()
    for line in (f"version: {version}", r"date-released: \d{4}-\d\d-\d\d"):
        if not re.search(f"^{line}$", citation, re.MULTILINE):
            raise ValueError(f"CITATION.cff has no line {line}")
    sections = re.split(r"^## ", (project / "CHANGELOG.md").read_text(), flags=re.M)
    for section in sections[1:]:
        heading, _, body = section.partition("\n")
        if re.fullmatch(rf"\[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d", heading):
            # Without addresses of headings, which often stand at the end of the file.
            return re.sub(r"^\[.+\]: .+\n?", "", body, flags=re.M).strip()
    raise ValueError(f"CHANGELOG.md has no section '## [{version}] - YYYY-MM-DD'")


def main() -> None:
    """Prints the notes, or one line of what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("tag", help="such as v0.1.0")
    try:
        print(release_notes(parser.parse_args().tag))
    except ValueError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
