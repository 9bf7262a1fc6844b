"""The surroundings of a run: its code, versions, hardware, cache."""

import pathlib
import subprocess

import bert_glue
import jax
import pytest
from bert_glue.devices import environment
from jax.experimental.compilation_cache import compilation_cache

import cwgnc_jax


@pytest.mark.parametrize(
    ("platform", "version", "slow"),
    [("gpu", "0.10.2", True), ("gpu", "0.11.2", False), ("cpu", "0.10.2", False)],
)
def test_a_release_that_is_slow_on_a_gpu_is_named(platform, version, slow):
    advice = environment.advice(platform, version)
    assert advice.startswith("jax 0.10.2 adds up") if slow else advice == ""


def test_code_is_known_by_all_of_its_files(tmp_path):
    package, other = tmp_path / "package", tmp_path / "other"
    for folder in (package / "inner", other):
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("x = 1\n")
    names = [environment.code(package, other)]
    (package / "notes.txt").write_text("no code")
    assert environment.code(package, other) == names[0]
    (package / "inner" / "a.py").write_text("x = 2\n")
    names.append(environment.code(package, other))
    (package / "inner" / "a.py").rename(package / "inner" / "b.py")
    names.append(environment.code(package, other))
    (other / "new.py").write_text("")
    names.append(environment.code(package, other))
    assert len(set(names)) == 4
    # Every module of both packages is read, and nothing else.
    assert environment.code() == environment.code(
        pathlib.Path(bert_glue.__file__).parent, pathlib.Path(cwgnc_jax.__file__).parent
    )


def test_versions_are_those_of_what_is_imported():
    versions = environment.versions()
    assert versions["jax"] == jax.__version__
    assert {"python", "jaxlib", "optax", "flax", "numpy"} <= versions.keys()


def test_packages_that_are_not_installed_have_no_version(monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGES", ("no-such-package", "jax"))
    assert environment.versions().keys() == {"python", "jax"}


def test_settings_that_change_a_result(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_some_flag")
    with jax.default_matmul_precision("highest"):
        settings = environment.settings()
    assert settings["jax_default_matmul_precision"] == "highest"
    assert settings["XLA_FLAGS"] == "--xla_some_flag"


def test_commit_says_whether_files_differ_from_it(tmp_path, monkeypatch):
    monkeypatch.setattr(environment, "_PACKAGE", tmp_path)
    # No repository of git is above the folder of temporary files.
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert environment.commit() is None

    def git(*arguments):
        author = ("-c", "user.name=a", "-c", "user.email=a@localhost")
        command = ["git", "-C", str(tmp_path), *author, *arguments]
        return subprocess.check_output(command, text=True).strip()

    git("init", "--quiet")
    (tmp_path / "a.py").write_text("x = 1\n")
    git("add", "a.py")
    git("commit", "--quiet", "--message", "a")
    commit = git("rev-parse", "HEAD")
    assert environment.commit() == commit
    (tmp_path / "untracked").touch()
    assert environment.commit() == commit
    (tmp_path / "a.py").write_text("x = 2\n")
    assert environment.commit() == commit + "+"
    monkeypatch.setenv("PATH", "")
    assert environment.commit() is None


@pytest.mark.parametrize("is_usable", [True, False])
def test_compiled_programs_are_kept_where_that_can_be(tmp_path, monkeypatch, is_usable):
    monkeypatch.setenv("CWGNC_CACHE", str(tmp_path))
    if not is_usable:
        (tmp_path / "compiled").write_text("")
    before = jax.config.jax_compilation_cache_dir
    try:
        environment.keep_compiled_programs()
        cache = str(tmp_path / "compiled") if is_usable else before
        assert jax.config.jax_compilation_cache_dir == cache
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
        compilation_cache.reset_cache()


def test_the_cache_is_where_the_user_says(monkeypatch):
    monkeypatch.setenv("CWGNC_CACHE", "/a")
    assert environment.cache_folder() == pathlib.Path("/a")
    monkeypatch.delenv("CWGNC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert environment.cache_folder() == pathlib.Path("/b/cwgnc_jax")
