"""Backups at S3, or at another store that speaks it: each is one multipart upload.

Until that is completed there is no object, so nobody takes a part of a backup for one.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from workers.backup.folder import missing
from workers.contract.backups import Depot as Told
from workers.contract.failure import Failure, final, ours
from workers.contract.messages import Credentials

# At least 5 MiB each, and 10,000 of them (https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html):
# they grow, so that what is small needs little memory, and all that an object may have fits in.
_PART = 8 * 1024 * 1024
_GROWS = 500  # parts after which they are as much larger again
_MOST = 10_000
_TRIES = 5  # of each request; the job is tried again besides
_PIECE = 1024 * 1024  # bytes that are read at once
_DENIED = ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "NoSuchBucket", "401", "403")
_GONE = ("NoSuchKey", "404")


class S3Depot:
    """The objects below the prefix of an s3:// URL."""

    def __init__(self, told: Told, credentials: Credentials) -> None:
        parts = urlsplit(told.url)
        self._url = told.url
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/" if parts.path.strip("/") else ""
        self._encryption = told.encryption
        with _telling(self._url):
            client: Any = boto3.client(
                "s3",
                endpoint_url=told.endpoint or None,
                region_name=told.region or None,
                config=Config(
                    connect_timeout=10,
                    read_timeout=60,
                    retries={"mode": "standard", "total_max_attempts": _TRIES},
                ),
                aws_access_key_id=credentials.depot_id or None,
                aws_secret_access_key=credentials.depot_secret or None,
            )
        self._client = client

    def writing(self, name: str) -> Upload:
        with _telling(self._url):
            self._drop_left(name)
            asked = {"ServerSideEncryption": self._encryption} if self._encryption else {}
            begun = self._client.create_multipart_upload(Bucket=self._bucket, Key=self._key(name), **asked)
        return Upload(
            self._url, self._client, {"Bucket": self._bucket, "Key": self._key(name)}, begun["UploadId"]
        )

    def read(self, name: str) -> Iterator[bytes]:
        with _telling(self._url, name):
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key(name))
        pieces = answer["Body"].iter_chunks(_PIECE)
        while True:
            with _telling(self._url, name):
                piece = next(pieces, b"")
            if not piece:
                return
            yield piece

    def remove(self, name: str) -> None:
        with _telling(self._url):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(name))

    def _drop_left(self, name: str) -> None:
        """Uploads of its service that a killed worker began cost money, and are nobody's."""
        where = self._key(name).rpartition("/")[0] + "/"
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._bucket, Prefix=where):
            for left in page.get("Uploads") or []:
                self._client.abort_multipart_upload(
                    Bucket=self._bucket, Key=left["Key"], UploadId=left["UploadId"]
                )

    def _key(self, name: str) -> str:
        return self._prefix + name


class Upload:
    """A multipart upload, one part of which is in memory."""

    def __init__(self, url: str, client: Any, where: dict[str, str], upload: str) -> None:
        self._url = url
        self._client = client
        self._where = where
        self._upload = upload
        self._parts: list[dict[str, Any]] = []
        self._waiting = bytearray()
        self._size = 0

    def write(self, piece: bytes) -> None:
        self._waiting += piece
        while len(self._waiting) >= (most := _PART * (1 + len(self._parts) // _GROWS)):
            self._send(most)

    def keep(self) -> None:
        self._send(len(self._waiting))
        with _telling(self._url):
            parts = {"Parts": self._parts}
            self._client.complete_multipart_upload(
                **self._where, UploadId=self._upload, MultipartUpload=parts
            )
            there = self._client.head_object(**self._where)["ContentLength"]
        if there != self._size:
            raise ours("depot_down", f"{self._where['Key']} has {there} bytes, and {self._size} were sent")

    def drop(self) -> None:
        with _telling(self._url):
            try:
                self._client.abort_multipart_upload(**self._where, UploadId=self._upload)
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "NoSuchUpload":
                    raise
            self._client.delete_object(**self._where)  # it may have been completed

    def _send(self, size: int) -> None:
        if len(self._parts) == _MOST:
            raise final("backup_too_large", f"The backup is larger than {_MOST} parts of S3")
        number, part = len(self._parts) + 1, bytes(self._waiting[:size])
        with _telling(self._url):
            sent = self._client.upload_part(
                **self._where, UploadId=self._upload, PartNumber=number, Body=part
            )
        told = {key: value for key, value in sent.items() if key == "ETag" or key.startswith("Checksum")}
        self._parts.append({"PartNumber": number, **told})
        self._size += len(part)
        del self._waiting[:size]


@contextlib.contextmanager
def _telling(url: str, name: str = "") -> Iterator[None]:
    """What boto3 raises, as a Failure with a sentence; `name`: of the backup that is read."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if name and code in _GONE:
            raise missing(name, url) from None
        if code in _DENIED:
            raise final(
                "depot_denied", f"SERVICE_BACKUPS: {url} does not let this instance in: {error}"
            ) from None
        raise _down(url, error) from None
    except (BotoCoreError, HTTPError) as error:
        raise _down(url, error) from None


def _down(url: str, error: Exception) -> Failure:
    return ours("depot_down", f"{url}, where backups lie, does not do what it is asked: {error}")
