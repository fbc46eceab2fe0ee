"""What docker-compose.yml and the Dockerfile say. Whatever is not understood here is an error: a line that
is not tried must not look as if it were."""

import json
import re
import shlex
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import jsonschema
import yaml

SERVICE_KEYS = {
    "build", "cap_drop", "command", "depends_on", "entrypoint", "environment", "healthcheck", "image",
    "network_mode", "ports", "read_only", "restart", "security_opt", "stop_grace_period", "volumes",
}
LOOPBACK = "127.0.0.1"


class Wrong(Exception):
    """One of the files is not what it should be."""


@dataclass
class Image:
    """The last stage of the Dockerfile."""

    entrypoint: list = field(default_factory=list)
    command: list = field(default_factory=list)
    environment: dict = field(default_factory=dict)
    user: int = 0
    directory: str = "/"
    stop_signal: str = ""
    # Made by the image, for volumes that are empty: path, and its mode.
    directories: dict = field(default_factory=dict)
    program: str = ""


def check_context(root):
    """Cargo builds nothing if any member of the workspace is missing."""
    given = set((root / ".dockerignore").read_text().splitlines())
    members = tomllib.loads((root / "Cargo.toml").read_text())["workspace"]["members"]
    for name in ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", *members]:
        if f"!{name}" not in given:
            raise Wrong(f".dockerignore keeps {name} from the build")


def read_dockerfile(path):
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.M)
    text = re.sub(r"\\\n\s*", " ", text)
    image, stages = Image(), []
    for line in filter(None, map(str.strip, text.splitlines())):
        word, rest = line.split(None, 1)
        if word == "FROM":
            if ":" not in rest or ":latest" in rest:
                raise Wrong(f"{rest}: a base image needs a version")
            stages.append(rest)
            image = Image()
        elif word == "ENTRYPOINT":
            image.entrypoint = json.loads(rest)
        elif word == "CMD":
            image.command = json.loads(rest)
        elif word == "ENV":
            name, value = rest.split("=", 1)
            image.environment[name] = value
        elif word == "USER":
            image.user = int(rest.split(":")[0])
        elif word == "WORKDIR":
            image.directory = rest
        elif word == "STOPSIGNAL":
            image.stop_signal = rest
        elif word == "COPY" and "--from=" in rest:
            image.program = rest.split()[-1]
        elif word == "RUN":
            made = re.search(r"install -d -o (\w+) -g \1 -m (0\d+) ([^&]+)", rest)
            if made:
                for directory in shlex.split(made[3]):
                    image.directories[directory] = int(made[2], 8)
                if f"--uid {image_user(text)} " not in rest:
                    raise Wrong("the directories belong to somebody else than USER")
        elif word not in {"HEALTHCHECK", "VOLUME", "EXPOSE", "COPY"}:
            raise Wrong(f"Dockerfile: {word} is not tried")
    if len(stages) != 2 or image.user == 0 or image.stop_signal != "SIGTERM":
        raise Wrong("Dockerfile: two stages, a user and a stop signal are expected")
    return image


def image_user(text):
    return int(re.search(r"^USER (\d+)", text, flags=re.M)[1])


def interpolate(value, environment):
    """As compose does with ${NAME}, ${NAME:-otherwise} and $$."""
    if isinstance(value, dict):
        return {key: interpolate(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [interpolate(item, environment) for item in value]
    if not isinstance(value, str):
        return value

    def replace(found):
        whole, name, otherwise = found[0], found[1], found[2]
        if whole == "$$":
            return "$"
        if name is None:
            raise Wrong(f"{value!r}: only ${{NAME:-otherwise}} and $$ are tried")
        return environment.get(name) or otherwise or ""

    return re.sub(r"\$(?:\$|\{(\w+)(?::-([^}$]*))?\})?", replace, value)


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)(s|m)", text).groups()
    return int(number) * {"s": 1, "m": 60}[unit]


def read_compose(path, schema, environment):
    document = yaml.safe_load(path.read_text())
    jsonschema.Draft7Validator(json.loads(schema.read_text())).validate(document)
    document = interpolate({k: v for k, v in document.items() if not k.startswith("x-")}, environment)
    services, volumes = document["services"], document["volumes"]
    for name, service in services.items():
        check(name, service, services, volumes)
    return services


def check(name, service, services, volumes):
    def must(condition, what):
        if not condition:
            raise Wrong(f"service {name}: {what}")

    must(not (service.keys() - SERVICE_KEYS), f"{service.keys() - SERVICE_KEYS} is not tried")
    must(service["read_only"] and service["cap_drop"] == ["ALL"], "it has more rights than it needs")
    must("no-new-privileges:true" in service["security_opt"], "it could get more rights")
    for port in service.get("ports", []):
        must(port.startswith(LOOPBACK + ":"), f"{port} is open to other machines")
    for volume in service["volumes"]:
        must(volume.split(":")[0] in volumes, f"{volume} is nowhere")
    for other, how in service.get("depends_on", {}).items():
        must(other in services, f"{other} is nowhere")
        healthy = how["condition"] == "service_healthy"
        must(not healthy or "test" in services[other]["healthcheck"], f"nobody knows how {other} is")
    for variable, value in service.get("environment", {}).items():
        must(not ("SECRET" in variable and "FILE" not in variable and value), f"{variable} has a known value")
    check_data = [volume for volume in service["volumes"] if volume.endswith(":/data")]
    must(len(check_data) == (1 if name.startswith("replica-") else 0), "its data has no volume of its own")
