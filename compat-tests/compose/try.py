#!/usr/bin/env python3
"""docker-compose.yml, tried without a container engine: its commands, environment and paths as processes in
namespaces, and the demonstration that it promises.

Needs root, and a `viewstone` that is built. Nothing of the machine is changed and nothing is left behind.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
INSIDE = "VIEWSTONE_COMPOSE_INSIDE"
PAUSE_MAX = 3.0

sys.path.insert(0, str(HERE))
# The tree stays as it is.
sys.dont_write_bytecode = True


def main():
    program, schema = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    if os.environ.get(INSIDE) is None:
        return enter()
    from containers import Machine
    from files import check_context, read_compose, read_dockerfile

    check_context(ROOT)
    image = read_dockerfile(ROOT / "Dockerfile")
    services = read_compose(ROOT / "docker-compose.yml", schema, {})
    print(f"docker-compose.yml fits its schema: {', '.join(services)}")
    with tempfile.TemporaryDirectory(prefix="viewstone-compose-") as scratch:
        Path(scratch).chmod(0o755)
        machine = Machine(Path(scratch), program, image, services)
        try:
            demonstrate(machine)
        finally:
            machine.kill_all()


def enter():
    """Runs itself again where it may do as it likes. Where that cannot be, it says so and fails nobody."""
    words = ["unshare", "--net", "--mount", "--propagation", "private"]
    tried = subprocess.run([*words, "true"], capture_output=True, text=True)
    if os.geteuid() != 0 or tried.returncode != 0:
        print(f"SKIPPED: docker-compose.yml WAS NOT TRIED: no namespaces here ({tried.stderr.strip()})")
        return 0
    return subprocess.run([*words, sys.executable, *sys.argv], env={**os.environ, INSIDE: "1"}).returncode


def step(words):
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


class Load(threading.Thread):
    """Puts and gets small objects through both gateways until it is told to stop."""

    def __init__(self, clients):
        super().__init__(daemon=True)
        self.clients, self.over, self.count, self.pause, self.failure = clients, False, 0, 0.0, None

    def run(self):
        last = time.monotonic()
        try:
            while not self.over:
                key, body = f"load/{self.count}", f"object {self.count}".encode()
                one, other = self.clients[self.count % 2], self.clients[(self.count + 1) % 2]
                one.put_object(Bucket="demo", Key=key, Body=body)
                assert other.get_object(Bucket="demo", Key=key)["Body"].read() == body
                now = time.monotonic()
                self.pause, last = max(self.pause, now - last), now
                self.count += 1
        except Exception as failure:
            self.failure = failure

    def end(self, what):
        self.over = True
        self.join(30)
        if self.failure or self.is_alive():
            raise RuntimeError(f"the load failed while {what}: {self.failure!r}")
        print(f"         {self.count} objects put and read meanwhile, the longest pause {self.pause:.2f} s")
        if self.pause > PAUSE_MAX:
            raise RuntimeError(f"{self.pause:.2f} s are a longer pause than is promised")


def credentials(machine):
    """As `docker compose logs keys` tells."""
    told = machine.containers["keys"].log.read_text()
    access = re.search(r"export AWS_ACCESS_KEY_ID=(\S+)", told)[1]
    service, command = re.search(r"docker compose exec -T (\S+) (.*)\)", told).groups()
    secret = machine.containers[service].execute(command.split()).stdout.strip()
    assert len(secret) >= 40, f"{secret!r} is no secret"
    return access, secret


def connect(port, access, secret):
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "standard", "max_attempts": 5}, connect_timeout=5, read_timeout=30)
    return boto3.client(
        "s3", endpoint_url=f"http://127.0.0.1:{port}", region_name="us-east-1", config=config,
        aws_access_key_id=access, aws_secret_access_key=secret,
    )


def wait(what, look, patience=60):
    began = time.monotonic()
    while time.monotonic() - began < patience:
        if found := look():
            return found
        time.sleep(0.2)
    raise RuntimeError(f"waited in vain for {what}")


def healthy_status(machine):
    status = machine.containers["replica-0"].execute(["viewstone", "status"])
    return status.stdout if status.returncode == 0 and "no debt" in status.stdout else None


def verify(clients, objects):
    for client in clients:
        for key, digest in objects.items():
            body = client.get_object(Bucket="demo", Key=key)["Body"].read()
            assert hashlib.sha256(body).hexdigest() == digest, f"{key} is not what was put"


def demonstrate(machine):
    step("docker compose up -d")
    began = time.monotonic()
    machine.up()
    for name in ("gateway-1", "gateway-2"):
        machine.containers[name].wait_until_healthy()
    print(f"         everything is healthy after {time.monotonic() - began:.1f} s")
    access, secret = credentials(machine)
    clients = [connect(port, access, secret) for port in (9000, 9001)]
    clients[0].create_bucket(Bucket="demo")
    objects = {}

    def put(key, size):
        body = os.urandom(size)
        clients[len(objects) % 2].put_object(Bucket="demo", Key=key, Body=body)
        objects[key] = hashlib.sha256(body).hexdigest()

    for number in range(20):
        put(f"small/{number}", 4 << 10)
    put("large", 24 << 20)

    step("docker compose kill replica-2, under load")
    load = Load(clients)
    load.start()
    time.sleep(1)
    machine.containers["replica-2"].kill()
    put("large while one is away", 24 << 20)
    time.sleep(2)
    load.end("replica-2 was killed")
    verify(clients, objects)
    said = machine.containers["replica-0"].execute(["viewstone", "status"])
    assert said.returncode == 1 and "2 of 3 replicas healthy" in said.stdout, said
    print("         " + said.stdout.strip().splitlines()[-1])

    step("docker compose up -d")
    machine.up()
    machine.containers["replica-2"].wait_until_healthy()
    print("         " + wait("no debt", lambda: healthy_status(machine)).strip().splitlines()[-1])
    verify(clients, objects)

    document = json.loads(machine.containers["replica-0"].execute(["viewstone", "status", "--json"]).stdout)
    primary = next(r for r in document["replicas"] if r["status"]["core"]["is_primary"])["address"].split(":")[0]
    step(f"docker compose kill {primary}, which is the primary, under load")
    load = Load(clients)
    load.start()
    time.sleep(1)
    machine.containers[primary].kill()
    time.sleep(3)
    load.end(f"the primary {primary} was killed")
    verify(clients, objects)

    step("docker compose up -d")
    machine.up()
    machine.containers[primary].wait_until_healthy()
    wait("no debt", lambda: healthy_status(machine))

    step("docker compose stop, docker compose up -d")
    machine.stop(["gateway-2", "gateway-1", "replica-2", "replica-1", "replica-0"])
    machine.up()
    for name in ("gateway-1", "gateway-2"):
        machine.containers[name].wait_until_healthy()
    assert credentials(machine) == (access, secret), "the keys have changed"
    verify(clients, objects)
    status = wait("no debt", lambda: healthy_status(machine))
    machine.stop(["gateway-2", "gateway-1", "replica-2", "replica-1", "replica-0"])
    print(status)
    step("docker-compose.yml does what it promises")


if __name__ == "__main__":
    sys.exit(main())
