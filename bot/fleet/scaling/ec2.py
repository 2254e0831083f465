"""Workers as instances of an EC2 Auto Scaling group, by boto3.

The group is the pool's own. Its desired capacity is raised for a newcomer; each new instance is told who
it is by a parameter in SSM's Parameter Store that has its id, and that is deleted once it was heard. An
instance is ended by its id, and the desired capacity lowered with it, when its worker has drained. Nobody
else ends one that works: it is protected from scale-in, and where the group has a lifecycle hook for
instances that terminate, one that AWS ends is held until its worker has drained.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog

from bot.fleet.scaling.provider import Found, Listed, Machine, Newcomer, ProviderDown
from config.errors import ConfigError
from config.pools import Pool
from config.settings import Settings

T = TypeVar("T")

WORKER_TAG = "io.blacktree.worker"
# https://docs.aws.amazon.com/autoscaling/ec2/userguide/ec2-auto-scaling-lifecycle.html
_LIVE = ("Pending", "Pending:Wait", "Pending:Proceed", "InService")
_HELD = "Terminating:Wait"
_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
# Seconds between two heartbeats of a lifecycle action, whose time-out is 30 seconds at least.
_HEARTBEAT = 10.0
_MOST = 50  # ids in one call of SetInstanceProtection
_CALL: dict[str, Any] = {
    "connect_timeout": 3,
    "read_timeout": 10,
    "retries": {"mode": "standard", "total_max_attempts": 3},
}

log = structlog.get_logger()


@dataclass(frozen=True)
class _Known:
    """What AWS says of it."""

    desired: int
    instances: tuple[Listed, ...]
    live: frozenset[str]
    protected: frozenset[str]
    addresses: dict[str, str]

    @property
    def nobodys(self) -> list[str]:
        """Instances that nobody was told of who they are."""
        return [one.id for one in self.instances if one.id in self.live and not one.worker]


class Group:
    """The Auto Scaling group of one pool."""

    every = 10.0

    def __init__(self, pool: Pool, settings: Settings) -> None:
        """Raises ConfigError where boto3 is missing."""
        try:
            import boto3
        except ImportError:
            raise ConfigError(
                f"POOLS: {pool.name}: ec2 needs boto3 here: pip install 'blacktree[scaling]'"
            ) from None
        self._session = partial(_session, boto3, pool, settings)
        self._pool = pool
        self._clients: dict[str, Any] = {}
        self._held: dict[str, float] = {}
        self._heard: set[str] = set()
        self._group = _Known(0, (), frozenset(), frozenset(), {})
        self.places = (f"ec2:{pool.group}",)

    async def list(self) -> Found:
        self._group = await self._do(self._look)
        coming = max(0, self._group.desired - len(self._group.live))
        return Found(self._group.instances, frozenset(self.places), coming)

    async def bring(self, newcomers: Sequence[Newcomer]) -> None:
        """Tell new instances who they are, and have as many more as are lacking. What is told twice is so."""
        group = await self._do(self._look)
        here = {one.worker for one in group.instances if one.id in group.live}
        lacking = [one for one in newcomers if one.name not in here]
        for instance, one in zip(group.nobodys, lacking, strict=False):
            settings = await one.settings({"worker_address": group.addresses[instance]})
            await self._do(partial(self._introduce, instance, one.name, settings))
            log.info("instance has its worker", instance=instance, worker=one.name)
        desired = len(group.live) + max(0, len(lacking) - len(group.nobodys))
        if desired != group.desired:
            await self._do(partial(self._desire, desired))
            log.info("desired capacity changed", group=self._pool.group, desired=desired, was=group.desired)

    async def end(self, machine: Listed) -> None:
        await self._do(partial(self._end, machine))

    async def protect(self, machines: Collection[Listed]) -> None:
        await self._do(partial(self._protect, machines))

    def _look(self) -> _Known:
        found = self._client("autoscaling").describe_auto_scaling_groups(
            AutoScalingGroupNames=[self._pool.group]
        )["AutoScalingGroups"]
        if not found:
            raise ProviderDown(f"there is no Auto Scaling group {self._pool.group}")
        rows = found[0]["Instances"]
        tags, addresses = self._described([row["InstanceId"] for row in rows])
        return _Known(
            found[0]["DesiredCapacity"],
            tuple(
                Listed(row["InstanceId"], tags.get(row["InstanceId"], ""), self.places[0], _state(row))
                for row in rows
            ),
            frozenset(row["InstanceId"] for row in rows if row["LifecycleState"] in _LIVE),
            frozenset(row["InstanceId"] for row in rows if row.get("ProtectedFromScaleIn")),
            addresses,
        )

    def _described(self, ids: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
        """The worker of each instance, by its tag; and its private address."""
        if not ids:
            return {}, {}
        pages = self._client("ec2").get_paginator("describe_instances")
        filters = [{"Name": "instance-id", "Values": list(ids)}]
        rows = [
            row
            for page in pages.paginate(Filters=filters)
            for reservation in page["Reservations"]
            for row in reservation["Instances"]
        ]
        tags = {
            row["InstanceId"]: tag["Value"]
            for row in rows
            for tag in row.get("Tags", ())
            if tag["Key"] == WORKER_TAG
        }
        return tags, {row["InstanceId"]: row.get("PrivateIpAddress") or "127.0.0.1" for row in rows}

    def _introduce(self, instance: str, worker: str, settings: str) -> None:
        """The parameter first: an instance that is tagged is known to have been told."""
        parameter = {"Name": self._parameter(instance), "Type": "SecureString"}
        ssm = self._client("ssm")
        ssm.put_parameter(**parameter, Value=settings, Overwrite=True)
        tags = [{"Key": "instance", "Value": instance}]
        ssm.add_tags_to_resource(ResourceType="Parameter", ResourceId=parameter["Name"], Tags=tags)
        self._client("ec2").create_tags(Resources=[instance], Tags=[{"Key": WORKER_TAG, "Value": worker}])

    def _desire(self, desired: int) -> None:
        self._client("autoscaling").set_desired_capacity(
            AutoScalingGroupName=self._pool.group, DesiredCapacity=desired, HonorCooldown=False
        )

    def _end(self, machine: Listed) -> None:
        self._forget(machine.id)
        if machine.state is Machine.HELD:
            self._hooks("complete_lifecycle_action", machine.id, LifecycleActionResult="CONTINUE")
            return
        self._client("autoscaling").terminate_instance_in_auto_scaling_group(
            InstanceId=machine.id, ShouldDecrementDesiredCapacity=True
        )

    def _protect(self, machines: Collection[Listed]) -> None:
        for machine in machines:
            if machine.id not in self._heard:
                self._forget(machine.id)
                self._heard.add(machine.id)
            due = time.monotonic() - self._held.get(machine.id, -_HEARTBEAT) >= _HEARTBEAT
            if machine.state is Machine.HELD and due:
                self._hooks("record_lifecycle_action_heartbeat", machine.id)
                self._held[machine.id] = time.monotonic()
        open_ = [
            machine.id
            for machine in machines
            if machine.id in self._group.live and machine.id not in self._group.protected
        ]
        for start in range(0, len(open_), _MOST):
            self._client("autoscaling").set_instance_protection(
                AutoScalingGroupName=self._pool.group,
                InstanceIds=open_[start : start + _MOST],
                ProtectedFromScaleIn=True,
            )
        there = {machine.id for machine in self._group.instances}
        self._heard &= there
        self._held = {instance: at for instance, at in self._held.items() if instance in there}

    def _hooks(self, action: str, instance: str, **more: str) -> None:
        """Tell each of the group's hooks that holds an instance which is to terminate."""
        client = self._client("autoscaling")
        hooks = client.describe_lifecycle_hooks(AutoScalingGroupName=self._pool.group)["LifecycleHooks"]
        for hook in hooks:
            if hook["LifecycleTransition"] == _TERMINATING:
                getattr(client, action)(
                    LifecycleHookName=hook["LifecycleHookName"],
                    AutoScalingGroupName=self._pool.group,
                    InstanceId=instance,
                    **more,
                )

    def _forget(self, instance: str) -> None:
        """Its settings were read, or nobody is to read them."""
        client = self._client("ssm")
        try:
            client.delete_parameter(Name=self._parameter(instance))
        except client.exceptions.ParameterNotFound:
            return

    def _parameter(self, instance: str) -> str:
        return f"{self._pool.parameters}{instance}"

    def _client(self, service: str) -> Any:
        if service not in self._clients:
            from botocore.config import Config

            session = self._session()
            self._clients[service] = session.client(service, config=Config(**_CALL))
        return self._clients[service]

    async def _do(self, call: Callable[[], T]) -> T:
        """Raises ProviderDown."""
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

        try:
            return await asyncio.to_thread(call)
        except (BotoCoreError, ClientError, ResponseParserError) as error:
            raise ProviderDown(f"group {self._pool.group}: {error}") from None


def _state(row: dict[str, Any]) -> Machine:
    if row["LifecycleState"] == _HELD:
        return Machine.HELD
    return Machine.THERE if row["LifecycleState"] in _LIVE else Machine.LEAVING


def _session(boto3: Any, pool: Pool, settings: Settings) -> Any:
    secret = settings.aws_secret_access_key
    return boto3.Session(
        profile_name=settings.aws_profile or None,
        aws_access_key_id=settings.aws_access_key_id or None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
        region_name=pool.region or None,
    )
