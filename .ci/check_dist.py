"""Checks what a release consists of, as somebody who installs it meets it.

    python .ci/check_dist.py dist

The wheel, and after it the sdist, is installed in an environment that has nothing else;
there the README's first lines of Python run from another folder. Links of the
description are absolute, and nothing but the library is in the wheel.
"""

import argparse
import email
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile

PROJECT = pathlib.Path(__file__).resolve().parents[1]
# And one update, whatever these do.
UPDATE = """
import jax.numpy as jnp
params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
adamw = cwgnc_jax.cwgnc_adamw(1e-3, max_norm=0.05)
updates, state = adamw.update(params, adamw.init(params), params)
assert jnp.isfinite(updates["kernel"]).all(), updates
record = cwgnc_jax.component_record(adamw, params, state)
assert record.names == ("bias", "kernel"), record.names
print(cwgnc_jax.__version__, cwgnc_jax.__file__)
"""


def relative_links(text: str) -> list[str]:
    """Returns the targets of a Markdown page that need its neighbours."""
    without_code = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.M | re.S)
    targets = re.findall(r"\]\(([^)\s]+)", without_code)
    targets += re.findall(r"^\[[^\]]+\]: (\S+)", without_code, re.M)
    targets += re.findall(r'\b(?:src|srcset|href)="([^"]+)"', without_code)
    return [at for at in targets if not re.match(r"\w+:|#", at)]


def check_contents(wheel: pathlib.Path, sdist: pathlib.Path) -> str:
    """Returns the version of both files, or raises ValueError."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = email.message_from_bytes(archive.read(about))
    version = metadata["Version"]
    allowed = ("cwgnc_jax/", f"cwgnc_jax-{version}.dist-info/")
    if strange := [name for name in names if not name.startswith(allowed)]:
        raise ValueError(f"the wheel holds {strange}")
    if "cwgnc_jax/py.typed" not in names:
        raise ValueError("the wheel has no py.typed")
    description = metadata.get_payload(decode=True).decode()
    if links := relative_links(description):
        raise ValueError(f"links of the description are not absolute: {links}")
    readme = (PROJECT / "README.md").read_text()
    code = re.compile(r"^```.*?^```", re.M | re.S)
    if code.findall(readme) != code.findall(description):
        raise ValueError("code of the README is another one in the description")
    root = f"cwgnc_jax-{version}"
    with tarfile.open(sdist) as archive:
        held = set(archive.getnames())
    for name in ("LICENSE", "CITATION.cff", "Makefile", "tests", "examples", "docs"):
        if not any(path.startswith(f"{root}/{name}") for path in held):
            raise ValueError(f"the sdist has no {name}")
    return version


def check_install(file: pathlib.Path, version: str) -> None:
    """Installs a file and runs the README's first lines, away from the project."""
    readme = (PROJECT / "README.md").read_text()
    lines = re.findall(r"```python\n(.*?)```", readme, re.S)[0]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "venv", f"{folder}/venv"], check=True)
        python = f"{folder}/venv/bin/python"
        install = [python, "-m", "pip", "install", "--quiet", str(file)]
        subprocess.run(install, check=True, cwd=folder)
        # -I: neither PYTHONPATH nor the folder itself leads to the sources.
        run = [python, "-I", "-W", "error", "-c", lines + UPDATE]
        said = subprocess.run(
            run, check=True, cwd=folder, stdout=subprocess.PIPE, text=True
        ).stdout
        found, path = said.splitlines()[-1].split()
        if found != version or not path.startswith(folder):
            raise ValueError(f"{file.name} is of {version}; imported was {said}")


def main() -> None:
    """Prints what was checked, or ends with an error."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="where the files are")
    folder = parser.parse_args().folder
    (wheel,), (sdist,) = (list(folder.glob(kind)) for kind in ("*.whl", "*.tar.gz"))
    version = check_contents(wheel, sdist)
    for file in (wheel, sdist):
        check_install(file.resolve(), version)
        print(f"{file.name}: installed, and the README's first lines ran")


if __name__ == "__main__":
    main()
