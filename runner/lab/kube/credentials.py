"""The server's certificate, its tokens and the kubeconfigs that carry them, kept over restarts."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
import os
import secrets
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from runner.lab.kube.requests import User

if TYPE_CHECKING:
    from cryptography import x509

CLUSTER = "gpurun-lab"
ADMIN = User("lab-admin")
READER = User("lab-reader", writes=False)


def write_private(path: Path, text: str) -> None:
    """Write a file only its owner may read, whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)


def tokens(folder: Path) -> dict[str, User]:
    """The bearer tokens and whose they are; made at the first start."""
    path = folder / "tokens.json"
    if not path.is_file():
        made = {user.name: secrets.token_urlsafe(32) for user in (ADMIN, READER)}
        write_private(path, json.dumps(made))
    known = json.loads(path.read_text())
    return {known[user.name]: user for user in (ADMIN, READER)}


def server_context(folder: Path, address: str) -> ssl.SSLContext:
    """TLS settings with a certificate of the lab's own authority for this address."""
    authority, certificate = folder / "ca.pem", folder / f"server-{address}.pem"
    if not (authority.is_file() and certificate.is_file()):
        _certify(authority, certificate, address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    # A client may name itself by a certificate of the same authority instead of a token.
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


def client_certificate(folder: Path, user: str) -> str:
    """A certificate for a user, signed by the lab's authority, and its key: both as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    (signer,) = folder.glob("server-*.pem")
    authority = serialization.load_pem_private_key(signer.read_bytes(), None)
    assert isinstance(authority, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, user)]))
        .issuer_name(issuer.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=30))
        .sign(authority, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return (private + signed.public_bytes(serialization.Encoding.PEM)).decode()


def _certify(authority: Path, certificate: Path, address: str) -> None:
    """A self-signed certificate that is its own authority; its key goes beside it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, CLUSTER)])
    now = datetime.datetime.now(datetime.UTC)
    addresses = {ipaddress.ip_address(address), ipaddress.ip_address("127.0.0.1")}
    names: list[x509.GeneralName] = [x509.IPAddress(entry) for entry in addresses]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=3650))
        .add_extension(x509.SubjectAlternativeName([*names, x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
        .sign(key, hashes.SHA256())
    )
    public = signed.public_bytes(serialization.Encoding.PEM).decode()
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    write_private(certificate, private + public)
    write_private(authority, public)


def _usage() -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def write_kubeconfigs(folder: Path, url: str) -> Path:
    """Write `kubeconfig` (all rights) and `kubeconfig-reader` (reads); returns the first."""
    authority = base64.b64encode((folder / "ca.pem").read_bytes()).decode()
    for token, user in tokens(folder).items():
        name = "kubeconfig" if user.writes else "kubeconfig-reader"
        context = {"cluster": CLUSTER, "user": user.name, "namespace": "default"}
        cluster = {"server": url, "certificate-authority-data": authority}
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": CLUSTER, "cluster": cluster}],
            "users": [{"name": user.name, "user": {"token": token}}],
            "contexts": [{"name": CLUSTER, "context": context}],
            "current-context": CLUSTER,
        }
        write_private(folder / name, json.dumps(content, indent=1) + "\n")
    return folder / "kubeconfig"
