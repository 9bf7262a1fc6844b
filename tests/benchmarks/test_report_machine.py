"""What is said of a machine where things are missing or broken."""

import builtins
import importlib.metadata

import report_machine


def test_packages_that_are_missing_are_named(monkeypatch):
    real = importlib.metadata.version

    def version(package):
        if package in ("datasets", "filelock"):
            raise importlib.metadata.PackageNotFoundError(package)
        return "1.0" if package != "jax" else real(package)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert report_machine.absent() == ["datasets", "filelock"]
    assert report_machine.version("filelock") == "missing"


def test_a_jax_that_cannot_be_imported_is_said(monkeypatch):
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name == "jax":
            raise ImportError("no jax here")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    assert report_machine.devices() == ["none: ImportError: no jax here"]


def test_without_the_card_s_own_tool_nothing_is_said(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert report_machine.card() == ""
