# What the clients that mount a bucket share: `source "$(dirname "$0")/../mount.sh"`.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# A mount without FUSE is no reason to skip: then nobody has tried this client.
need_fuse() {
    [ -c /dev/fuse ] && [ -w /dev/fuse ] ||
        fail "/dev/fuse is missing or not writable: load the module fuse, or give the container the device"
    command -v fusermount3 >/dev/null || fail "fusermount3 is missing: install fuse3"
}

# Waits until the directory is a mount.
mounted() {
    local tries
    for tries in $(seq 150); do
        mountpoint -q "$1" && return
        sleep 0.1
    done
    fail "$1 was not mounted within 15 seconds (tried $tries times)"
}

# Ends a mount, also one that a program still has open, and waits until its process is gone:
# only then everything that was written to it is stored.
unmount() {
    local directory=$1 process=$2 tries
    for tries in $(seq 50); do
        mountpoint -q "$directory" || break
        fusermount3 -u "$directory" 2>/dev/null || sleep 0.2
    done
    if mountpoint -q "$directory"; then
        fusermount3 -uz "$directory"
        echo "$directory was still in use after $tries tries" >&2
    fi
    for tries in $(seq 300); do
        kill -0 "$process" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$process"
    fail "process $process of the mount $directory did not end within 30 seconds"
}

# The same files with the same bytes and modes on both sides. `same_files` does not look at modes.
same_tree() {
    same_files "$1" "$2"
    diff <(cd "$1" && modes) <(cd "$2" && modes) || fail "$1 and $2 have other modes"
}

modes() { find . -type f -printf '%P %m\n' | LC_ALL=C sort; }

# A tree as source trees are: directories in directories, empty files, names with spaces and
# other scripts, a program, and some files larger than a part of an upload.
make_tree() {
    local root=$1 directory number
    for directory in src src/deep/deeper/deepest docs 'with space' 'umlaute/äöü' 'plus+and%20percent'; do
        mkdir -p "$root/$directory"
        for number in 1 2 3 4; do
            head -c "$((number * 3001))" /dev/urandom >"$root/$directory/file $number.bin"
        done
    done
    : >"$root/docs/empty"
    printf '#!/bin/sh\necho it runs\n' >"$root/src/program"
    chmod 755 "$root/src/program"
    head -c 12000000 /dev/urandom >"$root/large.bin"
}
