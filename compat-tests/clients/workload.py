"""What the soak does to a store: writers that know at any time what must be stored.

Each writer has a part of the bucket for itself, and an exact idea of it: what was acknowledged is there, and
nothing else. The bytes of an object follow from its name and version, so that all of them can be made again.
Whatever contradicts that, and every error that a client's own retries do not hide, ends the soak.
"""

import os
import random
import shutil
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

# The smallest part that may have another one behind it.
PART = 5 << 20
KEYS = 40


def content(name, version, size):
    return random.Random(f"{name} {version}").randbytes(size)


def expect(condition, what):
    if not condition:
        raise AssertionError(what)


class Tally:
    """What was done, by all writers together."""

    def __init__(self):
        self.lock = threading.Lock()
        self.counts = Counter()
        self.bytes_written = self.bytes_read = self.retries = 0
        self.longest = (0.0, "nothing")

    def count(self, what, times=1, written=0, read=0):
        with self.lock:
            self.counts[what] += times
            self.bytes_written += written
            self.bytes_read += read

    def waited(self, seconds, what, retries):
        with self.lock:
            self.longest = max(self.longest, (seconds, what))
            self.retries += retries


class Bucket:
    """The bucket through all gateways. Each request goes through one of them, by chance."""

    def __init__(self, name, endpoints, tally):
        # What a client has by default: a handful of attempts, with growing pauses.
        config = Config(max_pool_connections=32, s3={"addressing_style": "path"})
        self.name = name
        self.tally = tally
        self.clients = [boto3.client("s3", endpoint_url=endpoint, config=config) for endpoint in endpoints]

    def call(self, choices, operation, **arguments):
        began = time.monotonic()
        retries = 0
        try:
            answer = getattr(choices.choice(self.clients), operation)(Bucket=self.name, **arguments)
            retries = answer["ResponseMetadata"]["RetryAttempts"]
            if operation == "get_object":
                answer["Body"] = answer["Body"].read()
        finally:
            self.tally.waited(time.monotonic() - began, f"{operation} {arguments.get('Key', '')}".strip(), retries)
        self.tally.count("requests")
        return answer

    def listing(self, choices, prefix, page):
        """The keys and sizes below a prefix, page by page, each through another gateway."""
        found, more = {}, {}
        while True:
            answer = self.call(choices, "list_objects_v2", Prefix=prefix, MaxKeys=page, **more)
            found |= {each["Key"]: each["Size"] for each in answer.get("Contents", [])}
            if not answer["IsTruncated"]:
                return found
            more = {"ContinuationToken": answer["NextContinuationToken"]}


class SdkWriter:
    """Threads of a program with an SDK: everything one can do with an object, in any order."""

    def __init__(self, number, seed, bucket, tally, claims):
        self.name = f"sdk-{number}"
        self.prefix = f"sdk/{number}/"
        self.choices = random.Random(f"{seed} {self.name}")
        self.bucket = bucket
        self.tally = tally
        self.claims = claims
        self.keys = [f"{self.prefix}{'sub/' * (each % 3)}key {each}+ü" for each in range(KEYS)]
        self.believed = {}  # key: (the name that its bytes were made for, version, size)
        self.version = 0

    def step(self):
        actions = {
            self.put: 30, self.get: 30, self.delete: 8, self.delete_many: 2, self.copy: 5, self.upload_parts: 2,
            self.list: 5, self.claim: 5, self.count_up: 5,
        }
        action = self.choices.choices(list(actions), list(actions.values()))[0]
        action()
        self.tally.count(action.__name__)

    def call(self, operation, **arguments):
        return self.bucket.call(self.choices, operation, **arguments)

    def put(self):
        key = self.choices.choice(self.keys)
        most = self.choices.choices([0, 100, 5_000, 200_000, 3_000_000], [1, 3, 8, 6, 1])[0]
        self.version += 1
        made = (key, self.version, self.choices.randint(0, most))
        self.call("put_object", Key=key, Body=content(*made))
        self.believed[key] = made
        self.tally.count("objects written", written=made[2])

    def get(self):
        key = self.choices.choice(self.keys)
        if key not in self.believed:
            return self.absent(key)
        body = content(*self.believed[key])
        if body and self.choices.random() < 0.3:
            start = self.choices.randrange(len(body))
            end = self.choices.randrange(start, len(body))
            got = self.call("get_object", Key=key, Range=f"bytes={start}-{end}")["Body"]
            expect(got == body[start : end + 1], f"bytes {start} to {end} of {key} are others than were written")
        else:
            got = self.call("get_object", Key=key)["Body"]
            expect(got == body, f"{key}: wrote {self.believed[key]}, read {len(got)} other bytes")
        self.tally.count("objects read", read=len(got))

    def absent(self, key):
        try:
            self.call("get_object", Key=key)
        except ClientError as error:
            expect(error.response["Error"]["Code"] == "NoSuchKey", f"{key}: {error}")
        else:
            raise AssertionError(f"{key} is there, and was deleted or never written")

    def delete(self):
        key = self.choices.choice(self.keys)
        self.call("delete_object", Key=key)
        self.believed.pop(key, None)

    def delete_many(self):
        keys = self.choices.sample(self.keys, 5)
        answer = self.call("delete_objects", Delete={"Objects": [{"Key": key} for key in keys]})
        expect(not answer.get("Errors"), f"deleting many: {answer.get('Errors')}")
        for key in keys:
            self.believed.pop(key, None)

    def copy(self):
        if not self.believed:
            return
        source, target = self.choices.choice(sorted(self.believed)), self.choices.choice(self.keys)
        if source == target:
            return
        self.call("copy_object", Key=target, CopySource={"Bucket": self.bucket.name, "Key": source})
        self.believed[target] = self.believed[source]

    def upload_parts(self):
        key = self.choices.choice(self.keys[:4])  # A few only: they are large.
        self.version += 1
        made = (key, self.version, 2 * PART + self.choices.randint(1, PART))
        body = content(*made)
        upload = self.call("create_multipart_upload", Key=key)["UploadId"]
        starts = list(enumerate(range(0, len(body), PART), 1))
        self.choices.shuffle(starts)
        parts = []
        for number, start in starts:
            piece = body[start : start + PART]
            etag = self.call("upload_part", Key=key, UploadId=upload, PartNumber=number, Body=piece)["ETag"]
            parts.append({"PartNumber": number, "ETag": etag})
        parts.sort(key=lambda part: part["PartNumber"])
        self.call("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": parts})
        self.believed[key] = made
        self.tally.count("objects written", written=len(body))

    def list(self):
        found = self.bucket.listing(self.choices, self.prefix, self.choices.choice([3, 10, 1000]))
        believed = {key: made[2] for key, made in self.believed.items()}
        differing = set(found.items()) ^ set(believed.items())
        expect(not differing, f"the listing of {self.prefix} differs in {differing}")

    def claim(self):
        """Of all writers that want to create the same object, one does."""
        slot = self.claims.slot()
        mine = f"{self.name} {self.choices.getrandbits(64):x}"
        if self.won(lambda: self.call("put_object", Key=slot, Body=mine.encode(), IfNoneMatch="*"), slot, mine):
            self.claims.taken(slot, mine)

    def count_up(self):
        """A counter that everybody raises, by compare and swap."""
        key = "shared/counter"
        seen = self.call("get_object", Key=key)
        mine = f"{int(seen['Body'].split()[0]) + 1} {self.name} {self.choices.getrandbits(64):x}"
        if self.won(lambda: self.call("put_object", Key=key, Body=mine.encode(), IfMatch=seen["ETag"]), key, mine):
            self.claims.counted_up()

    def won(self, write, key, mine):
        """Whether a conditional write took place. Refused may be the repetition of one whose answer was lost."""
        try:
            write()
            return True
        except ClientError as error:
            expect(error.response["Error"]["Code"] == "PreconditionFailed", f"{key}: {error}")
            # Only if the client did repeat it: else "refused" means that, and nothing may be looked at anew.
            if not error.response["ResponseMetadata"]["RetryAttempts"]:
                return False
        return self.call("get_object", Key=key)["Body"] == mine.encode()


class Claims:
    """What the writers believe of the objects that they share."""

    def __init__(self, seed):
        self.lock = threading.Lock()
        self.choices = random.Random(f"{seed} claims")
        self.winners = {}
        self.counted = 0

    def slot(self):
        """One that somebody else may be after as well."""
        with self.lock:
            return f"shared/claim/{len(self.winners) + self.choices.randrange(3):06}"

    def taken(self, slot, who):
        with self.lock:
            expect(slot not in self.winners, f"{slot} was created twice: by {self.winners.get(slot)} and {who}")
            self.winners[slot] = who

    def counted_up(self):
        with self.lock:
            self.counted += 1


class TreeWriter:
    """A program that brings a directory of files to the store, again and again, and looks whether it is there."""

    def __init__(self, name, seed, scratch, bucket, endpoints, tally):
        self.name = name
        self.choices = random.Random(f"{seed} {name}")
        self.bucket = bucket
        self.endpoints = endpoints
        self.tally = tally
        self.scratch = Path(scratch)
        self.tree = self.scratch / name
        self.tree.mkdir()
        self.round = 0
        self.change(200)

    def change(self, files):
        """Files come, change and go. The size of one that changes is another one: s5cmd looks at nothing else
        within a second."""
        for _ in range(files):
            number = self.choices.randrange(400)
            path = self.tree / f"dir {number % 7}" / f"{number}.bin"
            if path.exists() and self.choices.random() < 0.3:
                path.unlink()
                continue
            path.parent.mkdir(exist_ok=True)
            size = self.choices.randrange(30_000) if number % 40 else self.choices.randrange(6 << 20, 12 << 20)
            if path.exists() and path.stat().st_size == size:
                size += 1
            path.write_bytes(content(f"{self.name} {number}", self.round, size))
            self.tally.count("objects written", written=size)

    def step(self):
        self.round += 1
        first, second = self.choices.sample(self.endpoints, 2)
        self.bring(first)
        self.look(second)
        self.tally.count(f"rounds of {self.name}")
        self.change(60)

    def finish(self):
        """What the last change left is brought as well: then the tree is what must be stored."""
        self.bring(self.endpoints[0])

    def run(self, *command, **environment):
        # Their own retries are to hide what happens; what ends them is an error.
        done = subprocess.run(
            [str(each) for each in command], env=os.environ | environment, capture_output=True, text=True, timeout=300
        )
        said = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        expect(done.returncode == 0, f"{' '.join(map(str, command[:3]))} ended with {done.returncode}:\n{said}")
        return done.stdout

    def believed(self):
        """The key and the path of each file."""
        return {f"{self.name}/{path.relative_to(self.tree)}": path for path in self.tree.rglob("*") if path.is_file()}


class Rclone(TreeWriter):
    def command(self, endpoint, *arguments):
        self.run(
            "rclone", *arguments, "--config", "", "--s3-endpoint", endpoint, "--s3-chunk-size", "5Mi",
            "--s3-upload-cutoff", "6Mi", "--transfers", "4",
            RCLONE_S3_PROVIDER="Other", RCLONE_S3_ENV_AUTH="true",
        )

    def bring(self, endpoint):
        self.command(endpoint, "sync", self.tree, f":s3:{self.bucket.name}/{self.name}")

    def look(self, endpoint):
        self.command(endpoint, "check", "--download", self.tree, f":s3:{self.bucket.name}/{self.name}")


class S5cmd(TreeWriter):
    def bring(self, endpoint):
        target = f"s3://{self.bucket.name}/{self.name}/"
        self.run("s5cmd", "--endpoint-url", endpoint, "--numworkers", 16, "sync", "--delete", f"{self.tree}/", target)

    def look(self, endpoint):
        down = self.scratch / "down"
        source = f"s3://{self.bucket.name}/{self.name}/*"
        self.run("s5cmd", "--endpoint-url", endpoint, "--numworkers", 16, "cp", source, f"{down}/")
        self.run("diff", "-r", self.tree, down)
        shutil.rmtree(down)
