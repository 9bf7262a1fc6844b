"""Pages link to files of the repository, and the site has those files.

A link is written as it holds in the repository, ``../results/README.md``, so that it
also works where the pages are read there. Here the file becomes a page (Markdown,
Python) or is copied beside the pages (a picture, a study's own page), and the link
leads to it.
"""

import pathlib
import posixpath
import re
from typing import Any

from mkdocs.structure.files import File, Files

PROJECT = pathlib.Path(__file__).parents[2]
LINK = re.compile(r"(\]\()([^)\s#]+)(#[^)\s]*)?(\))")
TITLE = re.compile(r"^# # (.+)$", re.MULTILINE)
# The order in which the notebooks are to be read; others follow.
GALLERY = (
    "clip_a_network",
    "scanned_stack",
    "unfreeze_bert",
    "five_seeds",
    "stability_curve",
    "own_csv",
    "lora",
)


def on_config(config: Any) -> Any:
    """Puts the notebooks that are there into the navigation, by their titles."""
    notebooks = sorted(
        (PROJECT / "docs" / "gallery").glob("*.py"),
        key=lambda path: (_position(path.stem), path.stem),
    )
    pages = [{_title(path): f"gallery/{path.name}"} for path in notebooks]
    at = config.nav.index({"Gallery": "gallery/"})
    config.nav[at : at + 1] = [{"Gallery": pages}] if pages else []
    return config


def on_files(files: Files, config: Any) -> Files:
    """Adds what pages link to outside of their folder, and what that links to."""
    waiting = [file.src_uri for file in files.documentation_pages()]
    texts = {uri: (PROJECT / "docs" / uri).read_text() for uri in waiting}
    while waiting:
        page = waiting.pop()
        for target in _targets(texts[page], _source(page)):
            uri = _uri(target)
            if target.startswith("docs/") or files.get_file_from_path(uri):
                continue
            file, text = _file_of(target, uri, config)
            files.append(file)
            if text is not None:
                texts[uri] = text
                if target.endswith(".md"):
                    waiting.append(uri)
    return files


def on_page_markdown(markdown: str, *, page: Any, files: Files, **_: Any) -> str:
    """Makes links to files of the repository links to pages."""
    uri = page.file.src_uri
    source = _source(uri)

    def relink(found: re.Match[str]) -> str:
        before, link, anchor, after = found.groups(default="")
        target = _target(link, source)
        if target is None:
            return found[0]
        where = posixpath.relpath(_uri(target), posixpath.dirname(uri) or ".")
        return f"{before}{where}{anchor}{after}"

    return LINK.sub(relink, markdown)


def _file_of(target: str, uri: str, config: Any) -> tuple[File, str | None]:
    """A file of the site, and its text where it becomes a page."""
    path = PROJECT / target
    if target.endswith(".py"):
        name = path.name
        text = f"# {name}\n\n`{target}`\n\n````python\n{path.read_text()}````\n"
        return File.generated(config, uri, content=text), text
    if target.endswith(".md"):
        text = path.read_text()
        return File.generated(config, uri, content=text), text
    return File.generated(config, uri, abs_src_path=str(path)), None


def _targets(text: str, source: str) -> list[str]:
    links = (found[2] for found in LINK.finditer(text))
    found = (_target(link, source) for link in links)
    return [target for target in found if target is not None]


def _target(link: str, source: str) -> str | None:
    """The file of the repository that a link in one of its files leads to, if any.

    A folder stands for the page of the study that it holds, its table or first figure.
    """
    if re.match(r"[a-z]+:|/", link):
        return None
    name = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    path = PROJECT / name
    if name.startswith(".."):
        return None
    if path.is_dir():
        kinds = ("index.html", "*.md", "*.png", "runs.jsonl")
        inside = [file for kind in kinds for file in sorted(path.glob(kind))]
        return f"{name}/{inside[0].name}" if inside else None
    return name if path.is_file() else None


def _source(uri: str) -> str:
    """Where a page of the site comes from in the repository."""
    if (PROJECT / "docs" / uri).is_file():
        return f"docs/{uri}"
    return uri.removesuffix(".md") if uri.endswith(".py.md") else uri


def _uri(target: str) -> str:
    """Where a file of the repository is in the site."""
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if target == "README.md":
        return "index.md"
    return f"{target}.md" if target.endswith(".py") else target


def _position(stem: str) -> int:
    return GALLERY.index(stem) if stem in GALLERY else len(GALLERY)


def _title(notebook: pathlib.Path) -> str:
    found = TITLE.search(notebook.read_text())
    if found is None:
        raise ValueError(f"{notebook} needs a title: a line '# # Title'")
    return found[1]
