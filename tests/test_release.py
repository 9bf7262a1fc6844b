"""What a release says of itself agrees, and what makes it names what exists."""

import importlib.util
import pathlib
import re
import tomllib

import pytest
import yaml

import cwgnc_jax

PROJECT = pathlib.Path(__file__).parents[1]
METADATA = tomllib.loads((PROJECT / "pyproject.toml").read_text())
ADDRESS = METADATA["project"]["urls"]["Source"]
CITATION = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
GITHUB = PROJECT / ".github"
if not GITHUB.is_dir():
    pytest.skip("an sdist has no workflows", allow_module_level=True)
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("[!c]*.yml"))


def load(name):
    """A script of .ci/, which is no package."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / ".ci" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def jobs(path):
    # YAML 1.1 reads the key `on` as true.
    workflow = yaml.safe_load(path.read_text())
    assert {"name", True, "permissions", "jobs"} <= workflow.keys()
    return workflow["jobs"]


def commands(path):
    steps = [step for job in jobs(path).values() for step in job["steps"]]
    return [step["run"] for step in steps if "run" in step]


def test_the_version_is_written_once():
    assert re.fullmatch(r"\d+\.\d+\.\d+", cwgnc_jax.__version__)
    assert CITATION["version"] == cwgnc_jax.__version__
    assert "version" in METADATA["project"]["dynamic"]


def test_the_address_is_one():
    owner, name = re.fullmatch(r"https://github.com/([\w-]+)/(\w+)", ADDRESS).groups()
    site = f"https://{owner}.github.io/{name}/"
    urls = METADATA["project"]["urls"]
    assert CITATION["repository-code"] == ADDRESS
    assert CITATION["url"] == urls["Documentation"] == site
    texts = [*PROJECT.glob("*.*"), *PROJECT.glob("docs/**/*.md"), *GITHUB.rglob("*.*")]
    for path in texts:
        if path.suffix in {".md", ".toml", ".yml", ".cff"}:
            text = path.read_text()
            for other, _ in re.findall(r"github\.com/([\w-]+)/(cwgnc_jax)", text):
                assert other == owner, path
            for other in re.findall(r"([\w-]+)\.github\.io/cwgnc_jax", text):
                assert other == owner, path


def test_the_description_stands_alone():
    hook = METADATA["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = readme = (PROJECT / "README.md").read_text()
    relative_links = load("check_dist").relative_links
    assert relative_links(text)
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    assert relative_links(text) == []
    code = re.compile(r"^```.*?^```", re.M | re.S)
    assert code.findall(text) == code.findall(readme)
    # An image is shown where it lies itself, not by the page that shows it.
    images = re.findall(r"!\[[^\]]*\]\(([^)]*)\)", text)
    assert all("raw.githubusercontent" in at for at in images if ADDRESS[19:] in at)


def test_what_needs_neighbours_is_noticed():
    relative_links = load("check_dist").relative_links
    page = """[a](docs/a.md#b) ![b](b.png "title") [c](https://c.org) [d](#d) <d@e.org>
<img src="e.png"> <a href="mailto:d@e.org">e</a> `[f](f.md)`
[g]: g.md
[h]: https://h.org
"""
    assert relative_links(page) == ["docs/a.md#b", "b.png", "g.md", "e.png"]


def test_the_changelog_keeps_its_format():
    text = (PROJECT / "CHANGELOG.md").read_text()
    first, *others = re.findall(r"^## (.*)$", text, re.M)
    assert first == "[Unreleased]"
    for heading in others:
        assert re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", heading)
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert {*re.findall(r"^### (.*)$", text, re.M)} <= kinds
    addressed = re.findall(rf"^\[(.+)\]: {re.escape(ADDRESS)}/", text, re.M)
    assert addressed == [heading[1:].split("]")[0] for heading in (first, *others)]


def test_a_release_takes_its_notes_from_the_changelog(tmp_path):
    release_notes = load("release_notes").release_notes
    (tmp_path / "cwgnc_jax").mkdir()
    module = tmp_path / "cwgnc_jax" / "__init__.py"
    module.write_text('"""A."""\n\n__version__ = "1.2.0"\n')
    changelog, citation = tmp_path / "CHANGELOG.md", tmp_path / "CITATION.cff"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n- Later.\n")
    citation.write_text("version: 1.2.0\n")
    with pytest.raises(ValueError, match=r"tag is v1\.3\.0, the version .* 1\.2\.0"):
        release_notes("v1.3.0", tmp_path)
    with pytest.raises(ValueError, match=r"CITATION.cff has no line date-released"):
        release_notes("v1.2.0", tmp_path)
    citation.write_text("version: 1.2.0\ndate-released: 2026-01-02\n")
    with pytest.raises(ValueError, match=r"no section '## \[1\.2\.0\]"):
        release_notes("v1.2.0", tmp_path)
    changelog.write_text(
        "# Changelog\n\n## [Unreleased]\n\n- Later.\n\n## [1.2.0] - 2026-01-02\n\n"
        "### Added\n\n- This.\n\n[1.2.0]: https://example.org\n"
    )
    assert release_notes("v1.2.0", tmp_path) == "### Added\n\n- This."


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_call_what_is_there(path):
    targets = re.findall(r"^([a-z-]+):", (PROJECT / "Makefile").read_text(), re.M)
    used = [name for line in commands(path) for name in re.findall(r"make (\S+)", line)]
    assert used
    assert {*used} <= {*targets}
    for line in commands(path):
        for script in re.findall(r"\.ci/\w+\.py", line):
            assert (PROJECT / script).exists()
    for job in jobs(path).values():
        assert job["timeout-minutes"] <= 60
        assert {*job.get("needs", [])} <= {*jobs(path)} or job["needs"] in jobs(path)
        for step in job["steps"]:
            assert ("run" in step) != ("uses" in step)


def test_ci_tests_each_python_that_is_promised():
    versions = jobs(GITHUB / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]
    promised = [
        name.removeprefix("Programming Language :: Python :: ")
        for name in METADATA["project"]["classifiers"]
        if re.search(r"Python :: \d+\.\d+$", name)
    ]
    assert {*promised} <= {*versions["python"]}
    assert METADATA["project"]["requires-python"] == f">={promised[0]}"


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.stem)
def test_forms_have_what_github_asks_for(path):
    form = yaml.safe_load(path.read_text())
    assert {"name", "description", "body"} <= form.keys()
    names = [element["id"] for element in form["body"]]
    assert len({*names}) == len(names)
    for element in form["body"]:
        assert element["type"] in {"textarea", "input", "dropdown", "checkboxes"}
        assert element["attributes"]["label"]
