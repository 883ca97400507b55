"""C2PA manifests: a signed statement in the file that it is synthetic, and what made it.

Needs requirements-c2pa.txt; without it results have none, and of those of others it is only said that one is
there. The key is the operator's, or one of this installation, made when it is first needed:

    DATA_DIR/signing/key.pem       ES256, for this user's eyes only
    DATA_DIR/signing/chain.pem     its certificate, and that of the authority that signed it and is forgotten

A certificate of one's own proves that the file was not changed since this installation signed it, not who
runs the installation: C2PA's readers call such a signer unknown. Nobody is asked over the network, neither
for the time nor for a manifest that lies elsewhere.
"""

from __future__ import annotations

import datetime
import json
import logging
import os
from pathlib import Path
from typing import Any

from filelock import FileLock

from pipelines.job_spec import Signing
from pipelines.marks.provenance import PROGRAM, VERSION, Provenance, installed
from rvc.errors import ConfigError
from rvc.files import atomic_write, ends_of

logger = logging.getLogger(__name__)

SIGNABLE = {"wav": "audio/wav", "flac": "audio/flac", "mp3": "audio/mpeg"}  # by format, what C2PA calls it
READABLE = SIGNABLE | {"m4a": "audio/mp4", "mp4": "video/mp4", "mov": "video/quicktime"}
SOURCE_TYPES = "http://cv.iptc.org/newscodes/digitalsourcetype/"
SYNTHETIC = (  # ends of the types of source that say a medium is made, or made over, by a model
    "trainedAlgorithmicMedia", "compositeWithTrainedAlgorithmicMedia", "algorithmicMedia",
    "compositeSynthetic",
)  # fmt: skip
OFFLINE = {"verify": {"remote_manifest_fetch": False, "ocsp_fetch": False}}
YEARS = 10  # of a certificate of this installation
_MOST_TOLD = 20
_LONGEST = 200


def sign(path: Path, *, format: str, record: Provenance) -> None:
    """Put a manifest into a finished file, which is replaced.

    Raises:
        ConfigError: The key or its certificate cannot be used.
    """
    import c2pa

    assert record.signing is not None
    signed = path.with_name(f"{path.name}.signed")
    try:
        context = c2pa.Context(c2pa.Settings.from_dict(OFFLINE))
        builder = c2pa.Builder(json.dumps(_claim(format, record)), context)
        with path.open("rb") as source, signed.open("w+b") as target:
            builder.sign(_signer(record.signing), SIGNABLE[format], source, target)
        signed.replace(path)
    except c2pa.C2paError as error:
        raise ConfigError(
            f"The result could not be signed ({_short(error)}); whoever runs the server corrects SIGNING_KEY "
            "and SIGNING_CERTIFICATE, or sets SIGN_OUTPUT=0."
        ) from error
    finally:
        signed.unlink(missing_ok=True)


def read_manifest(path: Path, container: str) -> dict[str, Any]:
    """Return what a file's manifest says, and how far it can be believed; a stranger may have made it.

    {"found": False}, or found and "read"; and of one that was read: state ("Trusted", "Valid", "Invalid"),
    generator, signer, signed_at, synthetic, problems.
    """
    there = holds_manifest(path)
    if not installed() or container not in READABLE:
        return {"found": there, "read": False}
    import c2pa

    try:
        context = c2pa.Context(c2pa.Settings.from_dict(OFFLINE))
        with path.open("rb") as file:
            reader = c2pa.Reader(READABLE[container], file, context=context)
            document = json.loads(reader.json())
    except c2pa.C2paError.ManifestNotFound:
        return {"found": False, "read": True}
    except (c2pa.C2paError, ValueError) as error:
        return {"found": there, "read": False} | ({"problems": [_short(error)]} if there else {})
    return {"found": True, "read": True} | _told(document)


def holds_manifest(path: Path) -> bool:
    """Whether a file seems to hold a manifest, without reading it: it lies at the beginning or at the end."""
    ends = ends_of(path)
    return b"jumb" in ends and b"c2pa" in ends


def _claim(format: str, record: Provenance) -> dict[str, Any]:
    action = {
        "action": "c2pa.created",
        "digitalSourceType": SOURCE_TYPES + "trainedAlgorithmicMedia",
        "softwareAgent": {"name": PROGRAM, "version": VERSION},
    }
    # Only what is in the file's tags as well; the voice's id is nobody else's business.
    said = {name: value for name, value in record.document().items() if name not in ("voice_id", "settings")}
    return {
        "claim_generator_info": [{"name": PROGRAM, "version": VERSION}],
        "format": SIGNABLE[format],
        "title": said["statement"].capitalize(),
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": "org.timbre.record", "data": said},
        ],
    }


def _told(document: dict[str, Any]) -> dict[str, Any]:
    """Pick out of a reader's report what a person is told."""
    manifest = document.get("manifests", {}).get(document.get("active_manifest"), {})
    generators = manifest.get("claim_generator_info") or [{}]
    signature = manifest.get("signature_info") or {}
    failures = (document.get("validation_results") or {}).get("activeManifest", {}).get("failure", [])
    text = json.dumps(manifest.get("assertions", []))
    return {
        "state": str(document.get("validation_state"))[:_LONGEST],
        "generator": str(generators[0].get("name") or manifest.get("claim_generator") or "")[:_LONGEST],
        "signer": str(signature.get("common_name") or signature.get("issuer") or "")[:_LONGEST],
        "signed_at": str(signature.get("time") or "")[:_LONGEST],
        "synthetic": any(f'/{kind}"' in text for kind in SYNTHETIC),
        "problems": [str(one.get("code"))[:_LONGEST] for one in failures[:_MOST_TOLD]],
    }


def _signer(signing: Signing) -> Any:  # noqa: ANN401  # of a package that need not be there
    import c2pa

    key, chain = _key_files(signing)
    try:
        pem, certificate = key.read_bytes(), chain.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"{error.filename}, with which results are signed, cannot be read ({error.strerror}); correct "
            "SIGNING_KEY and SIGNING_CERTIFICATE, or set SIGN_OUTPUT=0."
        ) from error
    return c2pa.Signer.from_info(c2pa.C2paSignerInfo(_algorithm(pem), certificate, pem, None))


def _key_files(signing: Signing) -> tuple[Path, Path]:
    if signing.key is not None and signing.certificate is not None:
        return signing.key, signing.certificate
    key, chain = signing.home / "key.pem", signing.home / "chain.pem"
    signing.home.mkdir(parents=True, exist_ok=True)
    with FileLock(signing.home / "lock"):
        if not chain.is_file():  # it is written last
            _make_key(key, chain)
    return key, chain


def _make_key(key_path: Path, chain_path: Path) -> None:
    """Make a key, and a certificate for it by an authority whose own key is thrown away."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    def name(what: str) -> x509.Name:
        parts = [(NameOID.ORGANIZATION_NAME, f"{PROGRAM} installation"), (NameOID.COMMON_NAME, what)]
        return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts])

    def certificate(of: x509.Name, public: ec.EllipticCurvePublicKey, *, ca: bool) -> x509.Certificate:
        now = datetime.datetime.now(datetime.UTC)
        usages = dict.fromkeys(
            ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only",
             "decipher_only"), False,
        )  # fmt: skip
        usage = x509.KeyUsage(digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, **usages)
        made = x509.CertificateBuilder().subject_name(of).issuer_name(authority).public_key(public)
        made = made.serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(1))
        made = made.not_valid_after(now + datetime.timedelta(365 * YEARS))
        made = made.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        made = made.add_extension(usage, critical=True)
        made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root.public_key())
        made = made.add_extension(issuer, critical=False)
        if not ca:
            for_mail = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION])
            made = made.add_extension(for_mail, critical=False)
        return made.sign(root, hashes.SHA256())

    root, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority, signer = name("authority of this installation"), name("a Timbre installation")
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with atomic_write(key_path, private=True) as path:
        path.write_bytes(pem)
    chain = [
        certificate(signer, key.public_key(), ca=False),
        certificate(authority, root.public_key(), ca=True),
    ]
    with atomic_write(chain_path) as path:
        path.write_bytes(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in chain))
    logger.info("made a key to sign results with: %s", os.fspath(key_path))


def _algorithm(pem: bytes) -> str:
    """Return what C2PA calls the algorithm of a private key."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(pem, None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "SIGNING_KEY is no private key in PEM without a password; give one, or set SIGN_OUTPUT=0."
        ) from error
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return {256: "es256", 384: "es384", 521: "es512"}.get(key.curve.key_size, "es256")
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise ConfigError("SIGNING_KEY is of a kind that C2PA does not sign with; give one of ES256.")


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:_LONGEST]
