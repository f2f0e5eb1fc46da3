"""Spark gets a Java that it starts on, and downloads trust what the machine trusts."""

from __future__ import annotations

import subprocess
from pathlib import Path

from wattline_stack.jvm.java import network_options, spark_java_home


def test_spark_s_java_drops_the_one_module_and_passes_the_rest(tmp_path: Path) -> None:
    """Arguments arrive as they were, spaces and all, without the module that this Java lacks."""
    java = tmp_path / "real java"
    java.write_text('#!/bin/sh\nprintf "<%s>" "$@"\n')
    java.chmod(0o755)
    shim = spark_java_home(tmp_path, java) / "bin" / "java"
    command = [str(shim), "-cp", "a b:*", "--add-modules=jdk.incubator.vector", "-Dx='1'", "Main", ""]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "<-cp><a b:*><-Dx='1'><Main><>"


def test_downloads_trust_the_system_and_use_its_proxy(tmp_path: Path) -> None:
    """Behind a company's proxy Java must trust and use what every other program here does; it does not by itself."""
    options = network_options(tmp_path, {"https": "http://proxy.example:3128"})
    assert "-Dhttps.proxyHost=proxy.example" in options
    assert "-Dhttps.proxyPort=3128" in options
    assert not any("http.proxyHost" in option for option in options)
    assert (tmp_path / "trusted.p12").stat().st_size > 10_000
