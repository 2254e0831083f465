"""Backups of services: where they lie, what is to be taken or put back, and what came of it."""

from __future__ import annotations

from typing import Literal

from workers.contract.words import Kind, Value


class Depot(Value):
    """Where backups lie: a folder that workers have, or a prefix in a bucket.

    Its keys come with the grant's credentials.
    """

    url: str  # a path, or s3://BUCKET/PREFIX
    endpoint: str = ""  # URL of another store than Amazon's that speaks S3
    region: str = ""
    encryption: str = ""  # what S3 is asked for: AES256 or aws:kms; nothing if empty


class Kept(Value):
    """A backup that is whole."""

    name: str  # below its depot
    sha256: str  # hex, of the bytes that lie there
    size: int  # bytes there


class BackupSpec(Value):
    """Take a backup of one service: a command's standard output, compressed on its way."""

    kind: Literal[Kind.BACKUP] = Kind.BACKUP
    place: str  # whose service: instance, repository's number, environment
    service: str
    command: list[str]  # run in its container
    depot: Depot
    name: str  # of the backup, below its depot
    expired: list[str] = []  # those that go once this one is whole


class RestoreSpec(Value):
    """Give a backup to a command in a service's container, on its standard input."""

    kind: Literal[Kind.RESTORE] = Kind.RESTORE
    place: str
    service: str
    command: list[str]
    depot: Depot
    kept: Kept


class Source(Value):
    """What a preview's new service is filled from, and what makes it fit for a preview."""

    environment: str  # whose backup it is
    command: list[str] = []  # which takes it on its standard input
    depot: Depot | None = None
    kept: Kept | None = None  # None: there is none
    scrub: list[str] = []  # run in its container afterwards; nothing has to be if empty
    refused: str = ""  # why it is not filled at all, for people


class BackupResult(Value):
    """What a backup is, and which older ones are gone."""

    sha256: str
    size: int  # bytes, as it lies there
    dumped: int  # bytes, as the command gave them
    removed: list[str] = []
