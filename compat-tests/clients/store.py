"""A store as people run it: three replicas and two gateways, each a process of its own on 127.0.0.1.

Whoever starts one ends it with `stop`. Nothing outlives the program that started it, however that ends.
"""

import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

REPLICAS = 3
GATEWAYS = 2
# How long anything is waited for. Far more than it takes.
PATIENCE = 60
ROOT = Path(__file__).resolve().parents[2]


def program():
    """The release binary: VIEWSTONE_BIN, or the one of this tree, built if it is not there."""
    if named := os.environ.get("VIEWSTONE_BIN"):
        return Path(named).resolve()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = (ROOT / target / "release" / "viewstone").resolve()
    if not built.exists():
        subprocess.run(["cargo", "build", "--release", "-p", "viewstone"], cwd=ROOT, check=True)
    return built


def free_ports(count):
    """Ports that are free for TCP and UDP, below those that the system gives to whoever connects: a
    replica that is away for a second finds its own port again."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first = int(file.read().split()[0])
    candidates = random.sample(range(10_000, max(first, 20_000)), 1000)
    return [port for port in candidates if is_free(port)][:count]


def is_free(port):
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as asked:
            try:
                asked.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def answers(address, path):
    """Whether a GET there finds 200."""
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=5) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def wait_for(what, look, patience=PATIENCE):
    until = time.monotonic() + patience
    while time.monotonic() < until:
        if look():
            return
        time.sleep(0.02)
    raise TimeoutError(f"waited in vain for {what}")


class CommandFailed(Exception):
    pass


class Store:
    def __init__(self):
        self.program = program()
        # Not below a home directory: a gateway and its replicas are nobody's files.
        self.directory = Path(tempfile.mkdtemp(prefix="viewstone-clients-"))
        self.access_key = "VSCLIENTS0000000TEST"
        self.secret_key = secrets.token_urlsafe(30)
        ports = [f"127.0.0.1:{port}" for port in free_ports(2 * REPLICAS + GATEWAYS)]
        self.peers = ports[:REPLICAS]
        self.admins = ports[REPLICAS : 2 * REPLICAS]
        self.gateways = ports[2 * REPLICAS :]
        self.replicas = [None] * REPLICAS
        self.fronts = []
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("VIEWSTONE_")}
        self.environment |= {
            "VIEWSTONE_PEERS": ",".join(self.peers),
            "VIEWSTONE_CLUSTER_KEY_FILE": str(self.directory / "cluster.key"),
            "VIEWSTONE_ACCESS_KEY": self.access_key,
            "VIEWSTONE_SECRET_KEY": self.secret_key,
        }

    def start(self):
        self.command("keygen", "--out", self.directory / "cluster.key")
        for replica in range(REPLICAS):
            self.start_replica(replica, "--new-cluster")
        for number, address in enumerate(self.gateways):
            # Several on one machine would want the same port for their metrics.
            gateway = self.spawn(f"gateway-{number}", "gateway", "--s3-listen", address, "--admin", "")
            self.fronts.append(gateway)
        wait_for("all replicas to be ready", lambda: all(map(self.is_ready, range(REPLICAS))))
        wait_for("the gateways", lambda: all(answers(address, "/-/ready") for address in self.gateways))

    def command(self, *arguments):
        """Any command of the program, for this cluster; what it prints."""
        command = [self.program, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode:
            raise CommandFailed(f"{arguments[0]} ended with {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def spawn(self, name, *arguments):
        # A process ends with the one that started it, also when that one is killed.
        command = ["setpriv", "--pdeathsig", "KILL", self.program, *map(str, arguments)]
        with open(self.directory / f"{name}.log", "ab") as log:
            # An interrupt from the terminal is for the tests, which then end all of this.
            return subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def data(self, replica):
        return self.directory / f"data-{replica}"

    def start_replica(self, replica, *more):
        place = ["--replica", replica, "--dir", self.data(replica)]
        place += ["--listen", self.peers[replica], "--admin", self.admins[replica]]
        # A machine whose disk is nearly full can still run tests.
        self.replicas[replica] = self.spawn(f"replica-{replica}", "replica", *place, "--reserve", "64MiB", *more)

    def kill_replica(self, replica):
        """As if its power had failed."""
        self.replicas[replica].kill()
        self.replicas[replica].wait()
        self.replicas[replica] = None

    def replace_disk(self, replica):
        """What a person does when the disk of a replica that does not run is gone."""
        shutil.rmtree(self.data(replica))
        self.command("replace-disk", "--replica", replica, "--dir", self.data(replica))

    def is_ready(self, replica):
        return answers(self.admins[replica], "/readyz")

    def check_alive(self):
        """A process that ended unasked has found a bug."""
        for name, process in self.processes():
            if (status := process.poll()) is not None:
                raise RuntimeError(f"{name} ended with {status}\n{self.log(name)}")

    def processes(self):
        yield from ((f"gateway-{number}", process) for number, process in enumerate(self.fronts))
        yield from ((f"replica-{number}", process) for number, process in enumerate(self.replicas) if process)

    def log(self, name, lines=30):
        text = (self.directory / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-lines:])

    def status_command(self):
        """The path of a program that prints the status as JSON, for clients that want to look."""
        path = self.directory / "status"
        settings = [f"{name}='{self.environment[name]}'" for name in ("VIEWSTONE_PEERS", "VIEWSTONE_CLUSTER_KEY_FILE")]
        path.write_text(f"#!/bin/sh\n{' '.join(settings)} exec '{self.program}' status --json\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def wait_until_whole(self, patience=PATIENCE):
        """Every chunk is where it should be, all replicas agree, and nothing needs to be looked at."""

        def is_whole():
            try:
                self.command("status")
                return True
            except CommandFailed as error:
                nonlocal said
                said = error
                return False

        said = ""
        try:
            wait_for("no debt", is_whole, patience)
        except TimeoutError as error:
            raise RuntimeError(f"the store did not get whole in {patience} s\n{said}") from error

    def stop(self):
        """Ends all processes as an operator does, and those that do not end the hard way."""
        # Gateways first: they finish what runs, for which they need the replicas.
        for group in (self.fronts, [process for process in self.replicas if process]):
            for process in group:
                process.send_signal(signal.SIGTERM)
            for process in group:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def remove(self, keep_logs=False):
        """The data, and the logs too unless somebody will want to read them."""
        if not keep_logs:
            return shutil.rmtree(self.directory, ignore_errors=True)
        for replica in range(REPLICAS):
            shutil.rmtree(self.data(replica), ignore_errors=True)


class Killer:
    """Kills one replica after the other, and starts each again. There are never two down: the next one is
    chosen when the last takes part again and has caught up.

    It does something only within `step`, and in the thread that calls it, which has to be called often.
    """

    def __init__(self, store, seed=None, pause=(2.0, 4.0)):
        self.store = store
        self.random = random.Random(seed)
        self.pause = pause
        self.kills = 0
        self.victim = None
        self.next = self.later(*pause)

    def later(self, least, most):
        return time.monotonic() + self.random.uniform(least, most)

    def step(self):
        if time.monotonic() < self.next:
            return
        if self.victim is None:
            self.victim = self.random.randrange(REPLICAS)
            self.store.kill_replica(self.victim)
            self.kills += 1
            self.next = self.later(0.8, 1.5)
        elif self.store.replicas[self.victim] is None:
            self.store.start_replica(self.victim)
            self.deadline = time.monotonic() + PATIENCE
        elif self.store.is_ready(self.victim):
            self.victim = None
            self.next = self.later(*self.pause)
        elif time.monotonic() > self.deadline:
            raise TimeoutError(f"replica {self.victim} does not catch up\n{self.store.log(f'replica-{self.victim}')}")

    def rest(self):
        """Whatever was killed is back."""
        while self.victim is not None:
            self.step()
            time.sleep(0.05)
