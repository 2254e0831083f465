"""Certificates for parts that speak TLS or sign tokens."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class Pair:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path) -> dict[str, str]:
        """Its two files in `folder`, as the `tls` of docker-registry names them."""
        paths = {"certificate": folder / "tls.crt", "key": folder / "tls.key"}
        paths["certificate"].write_bytes(self.pem)
        paths["key"].write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return {name: str(path) for name, path in paths.items()}


def authority() -> Pair:
    """A certificate that signs others, and itself."""
    return _signed("Blacktree test CA", None, x509.BasicConstraints(ca=True, path_length=None))


def server(host: str, by: Pair) -> Pair:
    """A server's, for that host name."""
    return _signed(host, by, x509.SubjectAlternativeName([x509.DNSName(host)]))


def _signed(name: str, by: Pair | None, extension: x509.ExtensionType) -> Pair:
    key = ec.generate_private_key(ec.SECP256R1())
    # The common name may have 64 characters at most.
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64])])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by.certificate.subject if by else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=30))
        .add_extension(extension, critical=by is None)
        .sign(by.key if by else key, hashes.SHA256())
    )
    return Pair(certificate, key)
