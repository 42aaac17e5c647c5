"""Train on machines of a Ray cluster: python train_on_ray.py MACHINES GPUS ARGUMENTS-OF-TRAIN"""

import os
import socket
import subprocess
import sys

import ray
from ray.util.placement_group import placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy


class Machine:
    """One machine of the group, as an actor."""

    def address(self):
        """Return host and a free port, where the others meet the first machine."""
        with socket.socket() as free:
            free.bind(("", 0))
            return f"{ray.util.get_node_ip_address()}:{free.getsockname()[1]}"

    def train(self, arguments, group):
        """Run the train command as a process of the group; return its exit status."""
        command = [sys.executable, "-m", "fer_keras", "train", *arguments, "--devices", "all"]
        return subprocess.run(command, env={**os.environ, "KERAS_BACKEND": "jax", **group}).returncode


machines, gpus, arguments = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
ray.init(address=os.environ.get("RAY_ADDRESS"))
needs = {"CPU": 1, **({"GPU": gpus} if gpus else {})}
places = placement_group([needs] * machines, strategy=os.environ.get("SPREAD", "STRICT_SPREAD"))
ray.get(places.ready())
actors = [
    ray.remote(num_cpus=1, num_gpus=gpus)(Machine)
    .options(scheduling_strategy=PlacementGroupSchedulingStrategy(places, placement_group_bundle_index=number))
    .remote()
    for number in range(machines)
]
group = {
    "KERAS_DISTRIBUTION_JOB_ADDRESSES": ray.get(actors[0].address.remote()),
    "KERAS_DISTRIBUTION_NUM_PROCESSES": str(machines),
}
statuses = [
    actor.train.remote(arguments, {**group, "KERAS_DISTRIBUTION_PROCESS_ID": str(number)})
    for number, actor in enumerate(actors)
]
sys.exit(max(map(abs, ray.get(statuses))))  # a process that was killed has a negative status
