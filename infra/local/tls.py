"""Certificates of a secured stack: an authority of its own, and what it vouches for on this machine."""

from __future__ import annotations

import os
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tidemark.core.errors import TidemarkError

# A stack that is older than this is made again.
_DAYS = "365"
_NEW_KEY = ("-newkey", "rsa:2048", "-nodes")
SERVER, TOOLS = "server", "tools"


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files of one folder, which its owner alone may read; PEM, keys in PKCS#8, and the stores of Java in PKCS#12."""

    folder: Path

    @property
    def authority(self) -> Path:
        """Certificate of the authority."""
        return self.folder / "ca.pem"

    @property
    def keystore(self) -> Path:
        """Key and certificate of the server, for Java."""
        return self.folder / "server.p12"

    @property
    def truststore(self) -> Path:
        """The authority, for Java."""
        return self.folder / "ca.p12"

    @property
    def store_password(self) -> str:
        """Password of both stores."""
        return (self.folder / "store-password").read_text().strip()

    def certificate(self, name: str) -> Path:
        """Certificate of SERVER, TOOLS, or another name that was issued."""
        return self.folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        """Private key of that certificate."""
        return self.folder / f"{name}.key"

    @property
    def bundle(self) -> Path:
        """Key and certificate of the server in one file, as Kafka reads it."""
        return self.folder / "server.pem"

    @classmethod
    def make(cls, folder: Path) -> Certificates:
        """Make them by OpenSSL and keytool; those of a complete folder stay.

        Raises
        ------
        TidemarkError
            A program failed; its output is in the message.
        """
        made = cls(folder)
        if made.truststore.is_file():
            return made
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        before = os.umask(0o077)
        try:
            made._make()
        finally:
            os.umask(before)
        return made

    def issue(self, name: str, subject: str, names: str = "IP:127.0.0.1") -> None:
        """Make a key and a certificate for a name of this machine, or for a client."""
        extensions = self.folder / f"{name}.cnf"
        extensions.write_text(f"subjectAltName={names}\n")
        request = self.folder / f"{name}.csr"
        _run("openssl", "req", *_NEW_KEY, "-subj", f"/CN={subject}", "-keyout", self.key(name), "-out", request)
        _run("openssl", "x509", "-req", "-days", _DAYS, "-in", request, "-CA", self.authority, "-CAkey",
             self.key("ca"), "-CAcreateserial", "-extfile", extensions, "-out", self.certificate(name))  # fmt: skip

    def _make(self) -> None:
        _run("openssl", "req", "-x509", *_NEW_KEY, "-days", _DAYS, "-subj", "/CN=Tidemark local authority", "-keyout",
             self.key("ca"), "-out", self.authority)  # fmt: skip
        self.issue(SERVER, "127.0.0.1")
        self.issue(TOOLS, "tidemark")
        self.bundle.write_text(self.key(SERVER).read_text() + self.certificate(SERVER).read_text())
        password = self.folder / "store-password"
        password.write_text(f"{secrets.token_hex(24)}\n")
        _run("openssl", "pkcs12", "-export", "-in", self.certificate(SERVER), "-inkey", self.key(SERVER), "-certfile",
             self.authority, "-passout", f"file:{password}", "-out", self.keystore)  # fmt: skip
        # Java takes as an authority only what keytool marks as one. This file says that all others are there.
        _run("keytool", "-importcert", "-noprompt", "-storetype", "PKCS12", "-alias", "ca", "-file", self.authority,
             "-storepass:file", password, "-keystore", self.truststore)  # fmt: skip


def _run(*command: str | Path) -> None:
    done = subprocess.run([*map(str, command)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise TidemarkError(f"`{command[0]} {command[1]}` failed: {(done.stdout + done.stderr).strip()[-500:]}")
