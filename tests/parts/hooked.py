"""moto's server, with what it lacks of Auto Scaling: lifecycle hooks that hold an instance which terminates.

https://docs.aws.amazon.com/autoscaling/ec2/userguide/lifecycle-hooks-overview.html. An instance's tag
`heartbeats` counts those of its lifecycle action.
"""

from __future__ import annotations

import sys
from typing import Any

from moto.autoscaling.models import (
    AutoScalingBackend,
    FakeAutoScalingGroup,
    TerminateInstanceActivity,
)
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult, EmptyResult
from moto.server import main

HELD = "Terminating:Wait"
_TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
_terminate = AutoScalingBackend.terminate_instance
_desire: Any = FakeAutoScalingGroup.set_desired_capacity


def _states(backend: AutoScalingBackend, instance: str) -> Any:
    rows = (row for group in backend.autoscaling_groups.values() for row in group.instance_states)
    return next(row for row in rows if row.instance.id == instance)


def terminate(self: AutoScalingBackend, instance_id: str, should_decrement: bool) -> Any:
    """Where a hook is, hold it; lower the desired capacity at once in any case."""
    row = _states(self, instance_id)
    group = row.auto_scaling_group
    if not any(
        hook.lifecycle_transition == _TERMINATING for hook in self.describe_lifecycle_hooks(group.name)
    ):
        return _terminate(self, instance_id, should_decrement)
    before = group.desired_capacity
    row.lifecycle_state = HELD
    if should_decrement:
        group.desired_capacity -= 1
    return TerminateInstanceActivity(row.instance, before)


def desire(self: Any, capacity: int | None) -> None:
    """Nothing is launched while that is suspended, as where AWS has no such instances left."""
    if any(process["ProcessName"] == "Launch" for process in self.suspended_processes):
        self.desired_capacity = capacity
    else:
        _desire(self, capacity)


def _held(response: AutoScalingResponse) -> Any:
    row = _states(response.autoscaling_backend, response._get_param("InstanceId"))
    group, hook = response._get_param("AutoScalingGroupName"), response._get_param("LifecycleHookName")
    known = response.autoscaling_backend.describe_lifecycle_hooks(group, [hook])
    if row.lifecycle_state != HELD or not known:
        raise JsonRESTError("ValidationError", f"No active Lifecycle Action found with instance ID {row}")
    return row


def heartbeat(self: AutoScalingResponse) -> ActionResult:
    instance = _held(self).instance
    count = int({tag["key"]: tag["value"] for tag in instance.get_tags()}.get("heartbeats", 0))
    instance.add_tags({"heartbeats": str(count + 1)})
    return EmptyResult()


def complete(self: AutoScalingResponse) -> ActionResult:
    row = _held(self)
    row.auto_scaling_group.instance_states.remove(row)
    self.autoscaling_backend.ec2_backend.terminate_instances([row.instance.id])
    return EmptyResult()


if __name__ == "__main__":
    patched: Any = AutoScalingBackend
    patched.terminate_instance = terminate
    group: Any = FakeAutoScalingGroup
    group.set_desired_capacity = desire
    answers: Any = AutoScalingResponse
    answers.record_lifecycle_action_heartbeat = heartbeat
    answers.complete_lifecycle_action = complete
    main(sys.argv[1:])
