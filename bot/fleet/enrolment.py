"""Which workers may speak to this bot: added with a credential, listed, revoked."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Sequence

from sqlmodel import col, select

from bot.jobs import ending
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.tables import Enrolled, Job, JobState
from config.errors import ConfigError
from workers.contract.credential import Credential, KeyPair
from workers.contract.messages import now

_KEY = "workers.private_key"  # the bot's own, in the vault


async def keys(vault: Vault) -> KeyPair:
    """The bot's key pair, made on first need. Raises ConfigError."""
    return KeyPair(bytes.fromhex(await vault.kept(_KEY, KeyPair.made().private.hex())))


async def add(store: Store, vault: Vault, name: str, pool: str, *, replace: bool = False) -> Credential:
    """A new credential. An earlier one of this name ends, if it is to be replaced or was revoked.

    Raises ConfigError where there is one that holds.
    """
    bot, own = await keys(vault), KeyPair.made()
    credential = Credential(name, pool, own, bot.public)
    async with store.transaction() as session:
        row = await session.get(Enrolled, name)
        if row is not None and row.revoked_at is None and not replace:
            raise ConfigError(
                f"worker {name} has a credential already, for pool {row.pool}: choose another name, or make "
                "a new credential with --replace, which ends the one that it has"
            )
        row = row or Enrolled(name=name, pool=pool, public_key="", broker_hash="")
        row.pool, row.public_key = pool, own.public.hex()
        row.broker_hash = rabbit_hash(credential.broker_password)
        row.created_at, row.revoked_at, row.number = now(), None, 0
        session.add(row)
    return credential


async def holds(store: Store, credential: Credential) -> bool:
    """Whether this is the credential that its worker has now."""
    async with store.reading() as session:
        row = await session.get(Enrolled, credential.name)
    return row is not None and row.revoked_at is None and row.public_key == credential.keys.public.hex()


async def refuse_revoked(store: Store, name: str) -> None:
    """Raises ConfigError for a worker that somebody revoked: only somebody adds it again."""
    async with store.reading() as session:
        row = await session.get(Enrolled, name)
    if row is not None and row.revoked_at is not None:
        raise ConfigError(f"worker {name} was revoked: add it again without --once, if that is wanted")


async def all_of(store: Store) -> Sequence[Enrolled]:
    """Every worker that was added, the revoked too, by name."""
    async with store.reading() as session:
        return (await session.exec(select(Enrolled).order_by(col(Enrolled.name)))).all()


async def revoke(store: Store, name: str) -> int:
    """Nothing is believed of this worker any more, and others do its jobs; the number of those.

    Raises ConfigError if there is no such worker.
    """
    async with store.transaction() as session:
        row = await session.get(Enrolled, name)
        if row is None or row.revoked_at is not None:
            was = "was revoked before" if row else "was never added: see `blacktree workers list`"
            raise ConfigError(f"worker {name} {was}")
        row.revoked_at = now()
        held = select(Job).where(Job.worker == name, Job.state == JobState.RUNNING)
        jobs = (await session.exec(held)).all()
    for job in jobs:
        await ending.lost(store, job, f"worker {name} was revoked")
    return len(jobs)


def rabbit_hash(password: str) -> str:
    """As RabbitMQ keeps it: https://www.rabbitmq.com/docs/passwords#computing-password-hash"""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()
