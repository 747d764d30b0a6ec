# Licensed under the Apache License, Version 2.0; see LICENSE.
# What check.sh and demo.sh share; sourced, with $top the source tree and $work a temporary directory of theirs.

note() { printf '%s\n' "== $*"; }

die() { printf '%s\n' "$*" >&2; exit 1; }

# need PACKAGE...: installs what is missing. Everything there: no network, no root needed.
need() {
    missing=
    for package in "$@"; do
        case $(dpkg-query -W -f='${Status}' "$package" 2>/dev/null) in
        *" installed") ;;
        *) missing="$missing $package" ;;
        esac
    done
    test -n "$missing" || return 0
    test "$(id -u)" = 0 || die "Debian packages are missing; as root: apt-get install --no-install-recommends$missing"
    note "installing:$missing"
    if test ! -e "$work/apt-updated"; then
        apt-get update -q >"$work/apt.log" 2>&1 || { tail -5 "$work/apt.log" >&2; die "apt-get update failed"; }
        : >"$work/apt-updated"
    fi
    # No server of these packages is to be started by its installation.
    policy=/usr/sbin/policy-rc.d
    test -e "$policy" && policy= || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy"; }
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing >"$work/apt.log" 2>&1
    installed=$?
    test -z "$policy" || rm -f "$policy"
    test $installed = 0 || { tail -20 "$work/apt.log" >&2; die "apt-get install$missing failed"; }
}

# The source as it stands, without what was built in it: autoreconf writes, and the tree stays clean.
copy_tree() {
    mkdir -p "$1"
    if test -d "$top/.git" && git -C "$top" rev-parse >/dev/null 2>&1; then
        (cd "$top" && git ls-files -co --exclude-standard | while IFS= read -r file; do
            test ! -f "$file" || printf '%s\n' "$file"
        done | tar -cf - -T -) | (cd "$1" && tar -xf -)
    else
        (cd "$top" && tar -cf - --exclude=./.git --exclude='*.o' --exclude='*.lo' --exclude=.libs \
            --exclude=./Makefile --exclude=./config.status --exclude=.deps .) | (cd "$1" && tar -xf -)
    fi
    # git on this machine may refuse a tree of another user; the copy is ours.
    test -f "$1/configure.ac" || die "copying $top failed"
}

# Listening sockets of both families, as hexadecimal ports.
port_taken() {
    cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$(printf ':%04X' "$1")" '
        substr($2, length($2) - 4) == port || substr($3, length($3) - 4) == port { found = 1 } END { exit !found }'
}

# free_port: one that nobody uses, outside the range of outgoing connections; never the same twice.
free_port() {
    while :; do
        port=$(od -An -N2 -tu2 /dev/urandom | awk '{ print 12000 + $1 % 19000 }')
        if ! port_taken "$port" && ! grep -qx "$port" "$work/ports" 2>/dev/null; then
            echo "$port" >>"$work/ports"
            echo "$port"
            return
        fi
    done
}

# end_processes MARK: ends, by pid, what was started with MARK in its environment.
end_processes() {
    for signal in TERM KILL; do
        found=
        for dir in /proc/[0-9]*; do
            pid=${dir#/proc/}
            test "$pid" != "$$" || continue
            if tr '\0' '\n' <"$dir/environ" 2>/dev/null | grep -qx "$1"; then
                # The shell that runs this loop has it as well, and so has the pipeline that reads it.
                case $(tr '\0' ' ' <"$dir/cmdline" 2>/dev/null) in
                "" | "tr "* | "grep "* | *check.sh* | *demo.sh*) ;;
                *) found="$found $pid" ;;
                esac
            fi
        done 2>/dev/null
        test -n "$found" || return 0
        # shellcheck disable=SC2086
        kill -$signal $found 2>/dev/null
        sleep 1
    done
    return 0
}

BUILD_PACKAGES="apache2-bin apache2-dev gcc libc6-dev make autoconf automake libtool pkg-config libidn2-dev libjansson-dev libssl-dev check"
