"""Blobs in a bucket of S3, or of what speaks as S3 does, with a folder of those that were put or read here.

The bucket holds a blob `abcd…` as `ab/cd…` below its prefix, as a folder of blobs does. A blob in the cache without a mark in `unsent/`
is whole and in the bucket: the mark is made before a new blob takes its place in the cache, and goes when the bucket has taken it. So a
process that was killed in between leaves a blob that counts as missing, and is sent when it is put again. The bucket is told the digest of
what it takes and refuses other bytes; what is fetched is digested again. The cache may be deleted when nothing runs.
"""

import base64
import os
import re
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import parse_qs, urlsplit

from karat.store.blobs import BATCH, LocalBlobs, store_error
from karat.words.errors import DamageError, StoreError
from karat.words.specs import Spec

WHOLE = 1 << 26
"""Bytes up to which a blob is sent in one request."""
SENDERS = 8
HEX = re.compile(r"[0-9a-f]{64}")
FORM = "Write it as s3://BUCKET/PREFIX, with ?endpoint=URL for what is not Amazon's, and region and profile where they are needed."


class Bucket(Spec):
    """A place in a bucket. `endpoint`, `region` and `profile` are found as Amazon's own tools find them where they are not given."""

    name: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    profile: str | None = None

    @classmethod
    def of(cls, url: str) -> "Bucket":
        """Read a URL such as s3://karat/team?endpoint=http://127.0.0.1:9000. Raises StoreError."""
        parts = urlsplit(url)
        said = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        unknown = sorted(set(said) - {"endpoint", "region", "profile"})
        if parts.scheme != "s3" or not parts.netloc or unknown:
            problem = f"it says {unknown[0]}" if unknown else "it is no bucket"
            raise StoreError(f"Blobs cannot be kept at {url}: {problem}.", repair=FORM)
        return cls(name=parts.netloc, prefix=parts.path.strip("/"), **said)

    def key(self, digest: str) -> str:
        return "/".join(part for part in (self.prefix, digest[:2], digest[2:]) if part)


class S3Blobs:
    """The blobs of a bucket."""

    def __init__(self, url: str, cache: Path) -> None:
        self.bucket = Bucket.of(url)
        self._cache = LocalBlobs(cache, again="read it again: the bucket has it")
        self._unsent = cache / "unsent"
        self._waiting: list[str] = []
        self._seen = False
        self._client: tuple[int, Any] | None = None
        try:
            self._unsent.mkdir(exist_ok=True)
        except OSError as error:
            raise store_error(error, self._unsent) from None

    def put(self, source: bytes | Path | BinaryIO, *, wait: bool = True) -> str:
        """Keep bytes, a file or a stream, and give their digest; with `wait=False` the bucket has them only after `settle`."""
        digest = self._cache.put(source, wait=wait, first=self._mark)
        if not self._sent(digest):
            if wait:
                self._send(digest)
            else:
                self._waiting.append(digest)
        return digest

    def settle(self) -> None:
        """Wait until the bucket has everything that was put."""
        waiting, self._waiting = list(dict.fromkeys(self._waiting)), []
        if waiting:
            self._cache.settle()
            with ThreadPoolExecutor(SENDERS) as senders:
                list(senders.map(self._send, waiting))

    def take(self, files: Iterable[tuple[str, Path]]) -> Iterator[int]:
        """Keep the files of another place of blobs, by their digests, without a copy in the cache; say now and then how many are kept."""
        done, known, waiting = 0, set(self.digests()), iter(files)
        with ThreadPoolExecutor(SENDERS) as senders:
            while some := list(islice(waiting, BATCH)):
                list(senders.map(lambda file: self._upload(*file), (file for file in some if file[0] not in known)))
                done += len(some)
                yield done

    def has(self, digest: str) -> bool:
        return self._sent(digest) or self._size(digest) is not None

    def holds(self, digest: str, size: int) -> bool:
        """Say whether a blob is there in its full size."""
        return (self._sent(digest) and self._cache.holds(digest, size)) or self._size(digest) == size

    def path(self, digest: str) -> Path:
        """Give the file of a blob in the cache, whether the bucket has it or not."""
        self._fetch(digest)
        return self._cache.path(digest)

    def read(self, digest: str) -> bytes:
        """Give a whole blob. Raises NotFoundError, or DamageError when the bytes are not what the digest says."""
        self._fetch(digest)
        return self._cache.read(digest)

    def part(self, digest: str, first: int, length: int) -> bytes:
        """Give some bytes of a blob, which is verified when it is first read from."""
        self._fetch(digest)
        return self._cache.part(digest, first, length)

    def lines(self, digest: str) -> Iterator[bytes]:
        """Stream the lines of a blob, after its bytes have been verified."""
        self._fetch(digest)
        yield from self._cache.lines(digest)

    def digests(self) -> Iterator[str]:
        """Give the digest of every blob, in order."""
        start = f"{self.bucket.prefix}/" if self.bucket.prefix else ""
        with self._said() as client:
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket.name, Prefix=start):
                names = (each["Key"].removeprefix(start).replace("/", "", 1) for each in page.get("Contents", ()))
                yield from (name for name in names if HEX.fullmatch(name))

    def remove(self, digests: Iterable[str]) -> None:
        """Remove some blobs, which nothing may need any more, here and from the bucket."""
        for digest in digests:
            with self._said() as client:
                client.delete_object(Bucket=self.bucket.name, Key=self.bucket.key(digest))
            self._cache.remove([digest])

    def _mark(self, digest: str) -> None:
        (self._unsent / digest).touch()

    def _sent(self, digest: str) -> bool:
        return self._cache.has(digest) and not (self._unsent / digest).exists()

    def _send(self, digest: str) -> None:
        self._upload(digest, self._cache.path(digest))
        (self._unsent / digest).unlink(missing_ok=True)

    def _upload(self, digest: str, path: Path) -> None:
        here = {"Bucket": self.bucket.name, "Key": self.bucket.key(digest)}
        with self._said() as client, path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= WHOLE:
                client.put_object(**here, Body=file, ChecksumSHA256=base64.b64encode(bytes.fromhex(digest)).decode())
            else:
                client.upload_fileobj(file, **here, ExtraArgs={"ChecksumAlgorithm": "SHA256"})

    def _fetch(self, digest: str) -> None:
        """Bring a blob into the cache, if the bucket has it and the cache has not."""
        if self._cache.has(digest):
            return
        with self._said() as client:
            found = self._unless_missing(partial(client.get_object, Bucket=self.bucket.name, Key=self.bucket.key(digest)))
            if found is not None:
                with found["Body"] as body:
                    self._cache.put(body, first=partial(self._expect, digest))

    def _expect(self, digest: str, found: str) -> None:
        if found != digest:
            problem = f"The blob {digest[:12]} is damaged: its bytes in the bucket {self.bucket.name} are not what its digest says."
            repair = f"Restore {self.bucket.key(digest)} there from a backup, or delete it and import or make it again."
            raise DamageError(problem, repair=repair)

    def _size(self, digest: str) -> int | None:
        """Give the bytes of a blob in the bucket, None where there is none."""
        with self._said() as client:
            found = self._unless_missing(partial(client.head_object, Bucket=self.bucket.name, Key=self.bucket.key(digest)))
            if found is None and not self._seen:
                client.head_bucket(Bucket=self.bucket.name)  # an answer without a body does not say what is missing
            self._seen = True
            return None if found is None else int(found["ContentLength"])

    def _unless_missing(self, ask: Callable[[], Any]) -> Any:
        from botocore.exceptions import ClientError

        try:
            return ask()
        except ClientError as error:
            if error.operation_name in ("HeadObject", "GetObject") and error.response["Error"]["Code"] in ("404", "NoSuchKey"):
                return None
            raise

    @contextmanager
    def _said(self) -> Iterator[Any]:
        """Give the client, and say its errors in words."""
        try:
            from botocore.exceptions import BotoCoreError, ClientError, ConnectionError, HTTPClientError
        except ImportError:
            raise StoreError("Blobs in a bucket need boto3, which is missing.", repair="pip install 'karat[s3]'") from None
        place = f"the bucket {self.bucket.name}" + (f" at {self.bucket.endpoint}" if self.bucket.endpoint else "")
        try:
            yield self._connected()
        except ClientError as error:
            raise _refusal(error.response["Error"], place) from error
        except (ConnectionError, HTTPClientError) as error:
            raise StoreError(f"Cannot reach {place}: {error}", repair="Check the network and the endpoint, then try again.") from error
        except BotoCoreError as error:
            raise StoreError(f"Cannot use {place}: {error}", repair=CREDENTIALS) from error

    def _connected(self) -> Any:
        """Give this process's client: connections do not survive a fork."""
        if self._client is None or self._client[0] != os.getpid():
            import boto3
            from botocore.config import Config

            own = self.bucket.endpoint is not None
            config = Config(
                connect_timeout=5,
                read_timeout=60,
                retries={"mode": "standard", "total_max_attempts": 4},
                max_pool_connections=2 * SENDERS,
                s3={"addressing_style": "path" if own else "auto"},
            )
            session = boto3.Session(profile_name=self.bucket.profile, region_name=self.bucket.region)
            region = session.region_name or ("us-east-1" if own else None)
            self._client = os.getpid(), session.client("s3", endpoint_url=self.bucket.endpoint, region_name=region, config=config)
        return self._client[1]


CREDENTIALS = "Give a key as for Amazon's own tools: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws."


def _refusal(error: dict[str, str], place: str) -> StoreError:
    code = error.get("Code", "")
    if code in ("404", "NoSuchBucket"):
        return StoreError(f"There is not {place}.", repair="Make it, or correct `blobs` in the store's store.yaml.")
    if code in ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"):
        return StoreError(f"The key is not accepted for {place} ({code}).", repair=CREDENTIALS)
    if code in ("403", "AccessDenied", "AllAccessDisabled"):
        allow = "Allow s3:GetObject and s3:PutObject on its blobs, and s3:ListBucket."
        return StoreError(f"The key may not use {place}.", repair=allow)
    return StoreError(f"Trouble with {place}: {error.get('Message') or code}.", repair="Try again; see what the bucket's side logs.")
