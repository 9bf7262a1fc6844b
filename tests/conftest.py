"""Fixtures that every test may use."""

import contextlib
import ctypes
import gc
import importlib.metadata
import os
import pathlib
import sys

import pytest

# Programs of tests are small and run a few times, so that what takes time is compiling
# them. With LLVM's optimizations off, the gradient of a tiny BERT takes a ninth of the
# processor time in jax 0.10, and a third in jax 0.12, which knows the first two alone.
# Flags that are set are obeyed; they must be there before jax is imported.
_FLAGS = "--xla_backend_optimization_level=0"
_FLAGS += " --xla_cpu_parallel_codegen_split_count=1"
_JAXLIB = importlib.metadata.version("jaxlib").split(".")
if [int(part) for part in _JAXLIB[:2]] < [0, 11]:
    _FLAGS += " --xla_llvm_disable_expensive_passes=true"
    _FLAGS += " --xla_cpu_use_fusion_emitters=false"
os.environ.setdefault("XLA_FLAGS", _FLAGS)

# On a busy machine an example may take any time; that is no fault of what is tested.
# Without hypothesis (a bare machine with an accelerator) the other tests still run.
with contextlib.suppress(ImportError):
    from hypothesis import HealthCheck, settings

    settings.register_profile(
        "busy", deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    settings.load_profile("busy")

# Scripts that record what PyTorch computes; the tests need only what they recorded.
collect_ignore_glob = ["data/*.py"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips, on an accelerator, what is a test of the CPU or of its compiler."""
    marked = [item for item in items if item.get_closest_marker("cpu")]
    if marked:
        import jax

        backend = jax.default_backend()
        if backend != "cpu":
            skip = pytest.mark.skip(
                reason=f"of the CPU's compiler; this is a {backend}"
            )
            for item in marked:
                item.add_marker(skip)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Leaves what was imported out of the garbage collector's rounds.

    Tracing makes so many objects that it goes through all of them again and again: some
    400,000 of the packages, which are there to stay.
    """
    del session
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


# A worker is to stay under 1.5 GB; what comes next adds some 300 MB at most.
_LARGE = 1.1e9


def _resident() -> float:
    """Bytes that this process holds in memory; infinite where that is not known."""
    try:
        pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    except (OSError, ValueError):
        return float("inf")
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.fixture(scope="module", autouse=True)
def empty_caches():
    """Forgets all programs after a module that leaves a worker large.

    Small ones are worth keeping: most of a test's time is compiling what others have
    compiled.
    """
    yield
    if "jax" in sys.modules and _resident() > _LARGE:
        sys.modules["jax"].clear_caches()
        gc.collect()
        # Freed memory is given back only when the C library is asked to.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


@pytest.fixture(scope="session")
def shared_dir() -> pathlib.Path:
    """Folder with real GLUE data and a real pretrained encoder.

    It is named by the environment variable CWGNC_SHARED or lies beside the project
    as ``../shared``; tests that need it are skipped where it is absent.
    """
    project = pathlib.Path(__file__).resolve().parents[1]
    folder = pathlib.Path(os.environ.get("CWGNC_SHARED", project.parent / "shared"))
    if not (folder / "glue").is_dir() or not (folder / "models").is_dir():
        pytest.skip(f"no real GLUE data and encoder in {folder} (set CWGNC_SHARED)")
    return folder


@pytest.fixture(scope="module")
def kept_programs(tmp_path_factory):
    """A cache of compiled programs for a module's tests, and none for others.

    Yields the folder that the scripts keep it in.
    """
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CWGNC_CACHE", str(folder))
        yield folder
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()


@pytest.fixture
def compiled():
    """Names of the programs that are compiled, as JAX's monitoring tells them."""
    import jax

    # Whatever other tests have compiled.
    jax.clear_caches()
    names = []

    def listen(event, duration, **about):
        del duration
        if event.endswith("backend_compile_duration"):
            names.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield names
    jax.monitoring.unregister_event_duration_listener(listen)
