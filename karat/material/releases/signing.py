"""Keys and signatures: Ed25519, one key for each store or person, made at first use.

The private key lies in a file that only its owner may read. A key is known by the SHA-256 of its public half, so a short text is enough
to say whom to trust.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Literal, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from karat.words.errors import ReleaseError
from karat.words.specs import Spec

KEY_FILE = "signing-key.pem"


class Signature(Spec):
    """Who vouches for some bytes. All values are hex."""

    algorithm: Literal["ed25519"] = "ed25519"
    key_id: str
    public_key: str
    signature: str

    def vouches_for(self, message: bytes) -> bool:
        """Tell whether the signature is this key's over exactly these bytes, and the key id this key's."""
        try:
            public, signature = bytes.fromhex(self.public_key), bytes.fromhex(self.signature)
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return self.key_id == key_id(public)


class SigningKey:
    """A private key in memory."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self.public = private.public_key().public_bytes_raw()
        self.id = key_id(self.public)

    @classmethod
    def at(cls, folder: Path) -> Self:
        """Read the key that lies in a folder; make it when there is none yet. Raises ReleaseError when others can read it."""
        path = folder / KEY_FILE
        try:
            if not path.exists():
                _make(path)
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                raise ReleaseError(
                    f"Others can read the signing key {path}.",
                    repair=f"Run `chmod 600 {path}` if nobody has; else delete it, and a new key will be made.",
                )
            private = load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise ReleaseError(
                f"The signing key {path} cannot be used: {error.strerror}.", repair="Check the folder's permissions."
            ) from None
        except (ValueError, TypeError):
            raise ReleaseError(
                f"{path} holds no unencrypted key.", repair="Restore it from a copy, or delete it to make a new one."
            ) from None
        if not isinstance(private, Ed25519PrivateKey):
            raise ReleaseError(f"{path} holds a key of another kind than Ed25519.", repair="Move it away, and a new key will be made.")
        return cls(private)

    def sign(self, message: bytes) -> Signature:
        """Vouch for some bytes: the same key and bytes always give the same signature."""
        return Signature(key_id=self.id, public_key=self.public.hex(), signature=self._private.sign(message).hex())


def key_id(public: bytes) -> str:
    """Give the name by which a public key is trusted: its SHA-256, as 64 hex digits."""
    return hashlib.sha256(public).hexdigest()


def _make(path: Path) -> None:
    """Put a new key there, whole and unreadable for others from the first moment; of two makers at once the first wins."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".signing-key")  # mkstemp gives mode 0600
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return
    finally:
        os.unlink(temporary)
