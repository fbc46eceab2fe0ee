# For the clients that are shell scripts: `source "$(dirname "$0")/../lib.sh"`.
set -euo pipefail

# What is tried next, so that the log tells where it ended.
story() { printf '\n--- %s\n' "$*"; }

fail() {
    printf 'FAILED: %s\n' "$*"
    exit 1
}

# same WHAT EXPECTED FOUND
same() { [ "$2" = "$3" ] || fail "$1 is: $3"$'\n'"and should be: $2"; }

# same_files A B: two files, or two directories with all in them.
same_files() { diff -r "$1" "$2" || fail "$1 and $2 differ"; }

# refused PATTERN COMMAND...: it fails, and says something that fits.
refused() {
    local pattern=$1 said
    shift
    if said=$("$@" 2>&1); then fail "succeeded: $*"; fi
    grep -Eq "$pattern" <<<"$said" || fail "$* said"$'\n'"$said"$'\n'"and not $pattern"
}

# random SIZE FILE: bytes that are nowhere else. The size as head(1) has it: 100, 5M.
random() { head -c "$1" /dev/urandom >"$2"; }

# tree DIRECTORY COUNT: small files of many sizes and a few odd names, in several directories.
tree() {
    local number
    mkdir -p "$1"/{a,b/deep/er,"with space"}
    for number in $(seq "$2"); do
        head -c $((number * 37 % 5000)) /dev/urandom >"$1/$(((number % 3)))-$number"
    done
    mv "$1"/1-* "$1/a/"
    mv "$1"/2-* "$1/b/deep/er/"
    : >"$1/empty"
    echo plus >"$1/with space/a+b=c&d.txt"
    echo percent >"$1/with space/100%25.txt"
    echo umlaut >"$1/Grüße aus Köln 漢字.txt"
}

# COMMAND | has PATTERN: reads all of it. `grep -q` would end early, and the command by a broken pipe.
has() {
    local said
    said=$(cat)
    grep -q -- "$1" <<<"$said"
}
