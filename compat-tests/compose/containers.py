"""Containers without an engine: a process in namespaces of its own, with nothing of the machine but its
programs, as the user of the image, without rights. All of it goes with the process that made it."""

import os
import shlex
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

from files import seconds

BRIDGE = "172.28.0.1"
OWN_OF_USR = {"local"}


def run(*words):
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(words)}: {done.stderr.strip()}")
    return done.stdout


class Machine:
    """A bridge, the volumes, and what runs. Expects to be alone in a network and a mount namespace."""

    def __init__(self, scratch, program, image, services):
        self.scratch, self.image, self.services = scratch, image, services
        self.containers = {}
        self.address_next = 2
        self.program = scratch / "viewstone"
        shutil.copy(program, self.program)
        self.program.chmod(0o755)
        # Names of networks are files there.
        run("mount", "-t", "tmpfs", "none", "/run")
        run("ip", "link", "set", "lo", "up")
        run("ip", "link", "add", "bridge", "type", "bridge")
        run("ip", "address", "add", f"{BRIDGE}/24", "dev", "bridge")
        run("ip", "link", "set", "bridge", "up")

    def volume(self, name, mounted_on):
        path = self.scratch / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            os.chown(path, self.image.user, self.image.user)
            path.chmod(self.image.directories[mounted_on])
        return path

    def up(self):
        """Starts what does not run, in order: `docker compose up -d`."""
        waiting = [name for name in self.services if not self.is_running(name)]
        while waiting:
            name = next(n for n in waiting if not (set(self.services[n].get("depends_on", {})) & set(waiting)))
            waiting.remove(name)
            for other, how in self.services[name].get("depends_on", {}).items():
                if how["condition"] == "service_healthy":
                    self.containers[other].wait_until_healthy()
                else:
                    self.containers[other].wait_until_completed()
            self.start(name)

    def is_running(self, name):
        return name in self.containers and self.containers[name].runs()

    def start(self, name):
        address = None
        if self.services[name].get("network_mode") != "none":
            # Another one each time, as an engine may do: who knows it by name must look again.
            address = f"172.28.0.{self.address_next}"
            self.address_next += 1
        self.containers[name] = Container(self, name, address)
        hosts = "127.0.0.1 localhost\n" + "".join(
            f"{each.address} {each.name}\n" for each in self.containers.values() if each.address
        )
        for container in self.containers.values():
            (container.root / "etc/hosts").write_text(hosts)
        self.containers[name].start()

    def stop(self, names):
        """`docker compose stop`: those that others depend on last."""
        for name in names:
            self.containers[name].stop()

    def kill_all(self):
        for container in self.containers.values():
            container.kill()


class Container:
    def __init__(self, machine, name, address):
        self.machine, self.name, self.address = machine, name, address
        self.service, self.image = machine.services[name], machine.image
        self.root = machine.scratch / "roots" / name
        self.log = machine.scratch / f"{name}.log"
        self.proxies = []
        self.process = None
        self.build_root()

    def build_root(self):
        for directory in ["dev", "etc", "proc", "tmp", "usr/local/bin", *self.image.directories]:
            (self.root / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
        for name in ["null", "urandom"]:
            (self.root / "dev" / name).touch()
        (self.root / "usr/local/bin/viewstone").touch()
        (self.root / "etc/nsswitch.conf").write_text("hosts: files\n")
        for name in ["bin", "lib", "lib64", "sbin"]:
            if not (self.root / name).is_symlink():
                (self.root / name).symlink_to(f"usr/{name}")
        for path in Path("/usr").iterdir():
            if path.is_dir() and not path.is_symlink() and path.name not in OWN_OF_USR:
                (self.root / "usr" / path.name).mkdir(exist_ok=True)

    def mounts(self):
        """What is mounted where, and how, as words for `mount`."""
        bind = lambda what, where, how: [
            ["mount", "--bind", str(what), str(where)],
            ["mount", "-o", f"remount,bind,{how}", str(where)],
        ]
        words = [["mount", "--bind", str(self.root), str(self.root)]]
        for path in sorted((self.root / "usr").iterdir()):
            if path.name not in OWN_OF_USR:
                words += bind(Path("/usr") / path.name, path, "ro")
        words += bind(self.machine.program, self.root / self.image.program.lstrip("/"), "ro")
        for name in ["null", "urandom"]:
            words += [["mount", "--bind", f"/dev/{name}", str(self.root / "dev" / name)]]
        words += [["mount", "-t", "proc", "proc", str(self.root / "proc")]]
        if self.service["read_only"]:
            words += [["mount", "-o", "remount,bind,ro", str(self.root)]]
        for volume in self.service["volumes"]:
            name, where, *how = volume.split(":")
            path = self.machine.volume(name, where)
            words += bind(path, self.root / where.lstrip("/"), how[0] if how else "rw")
        return words

    def inside(self, words):
        """A command line that runs `words` as the image's user, in its root and with its environment."""
        environment = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            **self.image.environment,
            **{name: str(value) for name, value in self.service.get("environment", {}).items()},
        }
        assert self.service["cap_drop"] == ["ALL"]
        user = str(self.image.user)
        return [
            "chroot", str(self.root), "env", "-i", f"--chdir={self.image.directory}",
            *(f"{name}={value}" for name, value in environment.items()),
            "setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--no-new-privs",
            "--bounding-set=-all", "--inh-caps=-all", "--", *words,
        ]

    def start(self):
        run("ip", "netns", "add", self.name)
        run("ip", "-n", self.name, "link", "set", "lo", "up")
        if self.address:
            end = f"v{self.address.rsplit('.', 1)[1]}"
            run("ip", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", self.name)
            run("ip", "link", "set", end, "master", "bridge", "up")
            run("ip", "-n", self.name, "address", "add", f"{self.address}/24", "dev", "eth0")
            run("ip", "-n", self.name, "link", "set", "eth0", "up")
        command = self.service.get("entrypoint", self.image.entrypoint) + self.service.get("command", self.image.command)
        script = " && ".join(shlex.join(words) for words in self.mounts())
        script += f" && exec {shlex.join(self.inside(command))}"
        words = ["ip", "netns", "exec", self.name, "unshare", "--mount", "--pid", "--fork", "--kill-child"]
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*words, "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        for port in self.service.get("ports", []):
            host, outside, inside = port.split(":")
            self.proxies.append(Proxy((host, int(outside)), (self.address, int(inside))))

    def runs(self):
        return self.process is not None and self.process.poll() is None

    def pid(self):
        """Of the process that is the first in its namespace. None once it has ended."""
        try:
            children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except FileNotFoundError:
            return None
        return int(children[0]) if children else None

    def execute(self, words, timeout=20):
        """`docker compose exec`."""
        enter = ["nsenter", "--target", str(self.pid()), "--mount", "--net", "--pid"]
        return subprocess.run([*enter, *self.inside(words)], capture_output=True, text=True, timeout=timeout)

    def is_healthy(self):
        test = self.service["healthcheck"]["test"]
        assert test[0] == "CMD"
        return self.execute(test[1:], seconds(self.service["healthcheck"]["timeout"])).returncode == 0

    def wait_until_healthy(self):
        check = self.service["healthcheck"]
        patience = seconds(check["start_period"]) + seconds(check["interval"]) * check["retries"]
        began = time.monotonic()
        while time.monotonic() - began < patience:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} has ended:\n{self.log.read_text()}")
            if self.pid() and self.is_healthy():
                return
            time.sleep(0.2)
        raise RuntimeError(f"{self.name} is not healthy after {patience} s:\n{self.log.read_text()}")

    def wait_until_completed(self):
        if self.process.wait(30) != 0:
            raise RuntimeError(f"{self.name} failed:\n{self.log.read_text()}")
        self.leave()

    def stop(self):
        if self.runs():
            os.kill(self.pid(), getattr(signal, self.image.stop_signal))
            code = self.process.wait(seconds(self.service["stop_grace_period"]))
            if code != 0:
                raise RuntimeError(f"{self.name} ended with {code}:\n{self.log.read_text()}")
        self.leave()

    def kill(self):
        if self.runs() and (pid := self.pid()):
            os.kill(pid, signal.SIGKILL)
            self.process.wait(10)
        self.leave()

    def leave(self):
        for proxy in self.proxies:
            proxy.close()
        self.proxies = []
        subprocess.run(["ip", "netns", "delete", self.name], capture_output=True)


class Proxy:
    """A published port."""

    def __init__(self, outside, inside):
        self.inside = inside
        self.listener = socket.create_server(outside)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        try:
            server = socket.create_connection(self.inside, timeout=5)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        back = threading.Thread(target=self.copy, args=(server, client), daemon=True)
        back.start()
        self.copy(client, server)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def copy(source, target):
        try:
            while data := source.recv(1 << 16):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            # Whoever was cut off ends the other half, too.
            for end in (source, target):
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        # A thread that waits in accept is only woken by this.
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
