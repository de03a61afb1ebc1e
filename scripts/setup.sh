# What Capelin's scripts need on this machine, and how it gets there. Sourced by scripts/run and scripts/test.
#
#   need_tools   cargo, a linker, the two Arm targets, QEMU from version 9 on
#   need_miri    Miri, if a nightly toolchain is there; without one, Miri's tests say that they are skipped
#
# Nothing is remembered between runs: each looks for the things themselves, which takes a fraction of a second. On
# Debian, as root, what is missing is installed; elsewhere it is named, with the way to get it.
#
# Debian 12 has QEMU 7, and 10 in its backports. The backports are asked of whatever mirror the machine already uses:
# a source that has the release itself is copied with the name of its backports (derive_backports).
# shellcheck shell=bash

ROOT=$(dirname "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")")
QEMU=qemu-system-aarch64
QEMU_OLDEST=9
RUST_OLDEST=1.95
GUEST_TARGETS=(aarch64-unknown-none-softfloat aarch64-unknown-none aarch64-unknown-uefi)
BACKPORTS_FILE=capelin-backports
SYSROOT= # of rustc; need_rust finds it

say() { printf 'capelin: %s\n' "$*" >&2; }

# is_at_least HAVE WANTED: compares versions.
is_at_least() { [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]; }

is_debian_root() { [ "$(id -u)" = 0 ] && [ -e /etc/debian_version ] && command -v apt-get >/dev/null; }

# derive_backports APT_FOLDER CODENAME: a source for CODENAME-backports, made of one for CODENAME, on standard output;
# its first line is a comment that tells the format: "# deb822" or "# one-line". Fails if there is none.
# The source's other settings (mirror, keys, architectures) are kept; disabled sources aren't looked at.
derive_backports() {
    local folder=$1 codename=$2 file found
    for file in "$folder"/sources.list.d/*.sources; do
        [ -e "$file" ] || continue
        found=$(awk -v codename="$codename" '
            # A stanza ends with an empty line. Field names are case-insensitive; a line that starts with a space
            # goes on with the field before.
            function finish(   i, suites, n, has) {
                n = split(fields["suites"], suites, /[ \t\n]+/)
                for (i = 1; i <= n; i++) if (suites[i] == codename) has = 1
                if (has && fields["types"] ~ /(^|[ \t])deb([ \t]|$)/ && tolower(fields["enabled"]) !~ /no|false|off/) {
                    printf "# deb822\nTypes: deb\nSuites: %s-backports\nComponents: main\n%s", codename, rest
                    done = 1
                    exit
                }
                delete fields
                rest = ""
            }
            /^[ \t]*#/ { next }
            /^[ \t]*$/ { finish(); next }
            /^[ \t]/ { fields[name] = fields[name] " " $0; if (keep) rest = rest $0 "\n"; next }
            {
                name = tolower(substr($0, 1, index($0, ":") - 1))
                fields[name] = substr($0, index($0, ":") + 1)
                keep = name !~ /^(types|suites|components|enabled)$/
                if (keep) rest = rest $0 "\n"
            }
            END { if (!done) finish() }' "$file")
        if [ -n "$found" ]; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    for file in "$folder"/sources.list "$folder"/sources.list.d/*.list; do
        [ -e "$file" ] || continue
        found=$(awk -v codename="$codename" '
            # deb [ options ] uri suite component…
            $1 == "deb" {
                at = 2
                options = ""
                if ($2 ~ /^\[/) {
                    while (at <= NF) {
                        options = options " " $at
                        if ($at ~ /\]$/) { at++; break }
                        at++
                    }
                }
                if ($(at + 1) == codename) {
                    printf "# one-line\ndeb%s %s %s-backports main\n", options, $at, codename
                    exit
                }
            }' "$file")
        if [ -n "$found" ]; then
            printf '%s\n' "$found"
            return 0
        fi
    done
    return 1
}

qemu_version() { "$QEMU" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9.]*\).*/\1/p'; }

has_qemu() {
    local version
    version=$(qemu_version)
    [ -n "$version" ] && is_at_least "$version" "$QEMU_OLDEST"
}

apt() { DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@" >&2; }

# The QEMU that apt would install, without the epoch.
qemu_candidate() {
    LC_ALL=C apt-cache policy qemu-system-arm 2>/dev/null | sed -n 's/^ *Candidate: \([0-9]*:\)\{0,1\}\([0-9.]*\).*/\2/p'
}

# has_backport CODENAME: whether apt already knows of a QEMU in CODENAME-backports.
has_backport() {
    LC_ALL=C apt-cache madison qemu-system-arm 2>/dev/null | grep -q " $1-backports/"
}

install_qemu() {
    local codename source suffix
    # shellcheck disable=SC1091
    codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
    say "installing QEMU (this takes a minute or two the first time)"
    apt update || { say "apt-get update failed"; return 1; }
    if is_at_least "$(qemu_candidate)" "$QEMU_OLDEST" && [ -n "$(qemu_candidate)" ]; then
        apt install -y --no-install-recommends qemu-system-arm
        return
    fi
    if ! has_backport "$codename"; then
        if ! source=$(derive_backports /etc/apt "$codename"); then
            say "no apt source for Debian $codename found to derive its backports from"
            return 1
        fi
        case $source in
        '# deb822'*) suffix=sources ;;
        *) suffix=list ;;
        esac
        say "adding /etc/apt/sources.list.d/$BACKPORTS_FILE.$suffix"
        printf '%s\n' "$source" >"/etc/apt/sources.list.d/$BACKPORTS_FILE.$suffix" || return 1
        apt update || { say "apt-get update failed"; return 1; }
    fi
    apt install -y --no-install-recommends -t "$codename-backports" qemu-system-arm
}

need_qemu() {
    has_qemu && return
    if is_debian_root; then
        install_qemu && has_qemu && return
    fi
    say "QEMU $QEMU_OLDEST or newer for 64-bit Arm is missing ($QEMU: $(qemu_version || true))."
    say "  Debian, Ubuntu: apt install qemu-system-arm   (Debian 12: from its backports)"
    say "  Fedora: dnf install qemu-system-aarch64-core   macOS: brew install qemu"
    return 1
}

need_linker() {
    command -v cc >/dev/null && return
    if is_debian_root; then
        say "installing a C linker"
        apt update && apt install -y --no-install-recommends gcc libc6-dev && return
    fi
    say "a C linker (cc) is missing: install gcc or clang."
    return 1
}

need_rust() {
    local version target missing=()
    if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
        PATH=$HOME/.cargo/bin:$PATH
    fi
    if ! command -v rustc >/dev/null || ! command -v cargo >/dev/null; then
        say "Rust $RUST_OLDEST or newer is missing: install it with rustup (its web site tells how)."
        return 1
    fi
    { read -r _ version _; read -r SYSROOT; } < <(rustc --version; rustc --print sysroot)
    if ! is_at_least "${version%%-*}" "$RUST_OLDEST"; then
        say "Rust $version is too old, $RUST_OLDEST or newer is needed: rustup update stable"
        return 1
    fi
    for target in "${GUEST_TARGETS[@]}"; do
        [ -d "$SYSROOT/lib/rustlib/$target/lib" ] || missing+=("$target")
    done
    [ ${#missing[@]} = 0 ] && return
    if command -v rustup >/dev/null; then
        say "adding Rust targets ${missing[*]}"
        rustup target add "${missing[@]}" >&2 && return
    fi
    say "Rust targets are missing: rustup target add ${missing[*]}"
    return 1
}

# Components that only the tests use. After need_rust.
need_lint_tools() {
    local missing=()
    [ -x "$SYSROOT/bin/cargo-fmt" ] || missing+=(rustfmt)
    [ -x "$SYSROOT/bin/cargo-clippy" ] || missing+=(clippy)
    [ ${#missing[@]} = 0 ] && return
    if command -v rustup >/dev/null; then
        say "adding Rust components ${missing[*]}"
        rustup component add "${missing[@]}" >&2 && return
    fi
    say "Rust components are missing: rustup component add ${missing[*]}"
    return 1
}

# Never fails: Miri's tests are skipped where it can't be had.
need_miri() {
    local folder
    command -v rustup >/dev/null || return 0
    for folder in "${RUSTUP_HOME:-$HOME/.rustup}"/toolchains/nightly-*; do
        [ -d "$folder" ] || continue
        [ -x "$folder/bin/cargo-miri" ] && [ -d "$folder/lib/rustlib/src/rust/library" ] && return 0
        say "adding Miri to the nightly toolchain"
        rustup component add --toolchain nightly miri rust-src >&2 || say "Miri can't be had: its tests are skipped"
        return 0
    done
    return 0
}

need_tools() { need_rust && need_linker && need_qemu; }

# run_xtask ARGUMENTS…: builds the recipes' program and becomes it, so that signals reach it.
run_xtask() {
    local target
    target=$(cd "$ROOT" && realpath -m "${CARGO_TARGET_DIR:-target}")
    [ -x "$target/debug/xtask" ] || say "building the recipes' program (once)"
    (cd "$ROOT" && cargo build --quiet --package xtask) || exit 3
    exec "$target/debug/xtask" "$@"
}
