#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# Everything that can be checked, on a fresh Debian (bookworm, trixie) with nothing but apt: builds with gcc, clang and
# sanitizers, `make check` in each, `make distcheck`, pytest against a real httpd and a real CA, the demo.
#
#   sh test/check.sh [--sweep] [--keep]
#
# --sweep runs the long ones too (fuzzing, the tests marked `sweep`), --keep leaves the temporary
# directory. The source tree is not written to. The last line is "N passed, N failed, N skipped".
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/sbin:/sbin; export PATH
top=$(cd "$(dirname "$0")/.." && pwd)
umask 022
work=$(mktemp -d "${TMPDIR:-/tmp}/acmeclient-check-XXXXXX") || exit 1
chmod 755 "$work"
. "$top/test/common.sh"

sweep= keep=
for argument; do
    case $argument in
    --sweep) sweep=1 ;;
    --keep) keep=1 ;;
    *) die "usage: check.sh [--sweep] [--keep]" ;;
    esac
done

# Whatever is started below carries this in its environment, and is ended by its pid.
ACMECLIENT_CHECK=$work; export ACMECLIENT_CHECK
PYTHONDONTWRITEBYTECODE=1; export PYTHONDONTWRITEBYTECODE
cleanup() {
    trap - EXIT INT TERM HUP
    end_processes "ACMECLIENT_CHECK=$work"
    test -n "$keep" && note "kept: $work" || rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP PIPE

passed=0 failed=0 skipped=0 reasons=$work/reasons
: >"$reasons"
started=$(date +%s)
pass() { passed=$((passed + $1)); }
wrong() { failed=$((failed + $1)); printf 'FAILED: %s\n' "$2" | tee -a "$reasons"; }
skip() { skipped=$((skipped + $1)); printf 'skipped: %s\n' "$2" >>"$reasons"; }
clock() { printf '[%3d s] ' $(($(date +%s) - started)); }

# ---- what is needed ----
need $BUILD_PACKAGES clang clang-format git ca-certificates openssl python3 python3-pytest python3-pytest-xdist python3-cryptography \
    pebble caddy curl strace faketime procps iproute2 certbot lego python3-jwcrypto knot knot-dnsutils bind9 bind9-dnsutils
rt=libclang-rt-$(clang -dumpversion | cut -d. -f1)-dev
if test -n "$sweep" && apt-cache show "$rt" >/dev/null 2>&1; then need "$rt"; fi

# The newest Pebble where Go can build it; Debian's otherwise.
find_pebble() {
    test -z "${PEBBLE:-}" || return 0
    go=$(command -v go || ls /usr/local/go/bin/go 2>/dev/null) || return 0
    for dir in "${GOBIN:-}" "$("$go" env GOBIN)" "$("$go" env GOPATH)/bin"; do
        if test -n "$dir" && test -x "$dir/pebble" && test -x "$dir/pebble-challtestsrv"; then
            PEBBLE=$dir/pebble; export PEBBLE
            return 0
        fi
    done
    "$go" version | grep -qE 'go1\.(2[4-9]|[3-9][0-9])|go[2-9]\.' || return 0
    note "building Pebble 2.10.1 with $("$go" version | cut -d' ' -f3)"
    for command in pebble pebble-challtestsrv; do
        GOBIN=$work/gobin timeout 300 "$go" install "github.com/letsencrypt/pebble/v2/cmd/$command@v2.10.1" \
            >>"$work/go.log" 2>&1 || { skip 0 "Pebble 2.10.1 could not be built, Debian's is used"; return 0; }
    done
    PEBBLE=$work/gobin/pebble; export PEBBLE
}
find_pebble
note "Pebble: ${PEBBLE:-$(command -v pebble)}"

# ---- builds ----
copy_tree "$work/src"
(cd "$work/src" && autoreconf -fi) >"$work/autoreconf.log" 2>&1 ||
    { tail -20 "$work/autoreconf.log"; wrong 1 "autoreconf"; }

# build NAME CONFIGURE-ARGUMENT...: out of tree.
build() {
    name=$1
    shift
    clock; echo "$name: configure, make"
    mkdir "$work/$name"
    if (cd "$work/$name" && ../src/configure --prefix="$work/inst" --enable-werror "$@" && make -j2 all check TESTS=) \
        >"$work/$name.log" 2>&1; then
        pass 1
        return 0
    fi
    grep -E '(error|warning|configure: error)' "$work/$name.log" | head -20
    tail -5 "$work/$name.log"
    wrong 1 "$name: build"
    return 1
}

# suites NAME SECONDS [SUITE...]: unit tests, all or those, two suites at a time; each check counts.
suites() {
    name=$1 limit=$2
    shift 2
    clock; echo "$name: unit tests"
    test $# -gt 0 || set -- $(sed -n 's/^SUITE(\(.*\))$/\1/p' "$work/src/test/unit/suites.h")
    mkdir "$work/$name/suites"
    began=$(date +%s)
    printf '%s\n' "$@" | (cd "$work/$name" && srcdir=../src timeout -k 10 "$limit" xargs -P 2 -I '{}' \
        sh -c 'test/unit/unit {} >suites/{}.log 2>&1')
    all=0 all_bad=0
    for suite; do
        log=$work/$name/suites/$suite.log
        set -- $(sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2 \3/p' "$log" | tail -1)
        bad=$((${2:-0} + ${3:-1}))
        all=$((all + ${1:-1})) all_bad=$((all_bad + bad))
        if test $bad -gt 0; then
            echo "---- $name: unit $suite"
            tail -40 "$log" | cut -c1-300
            wrong $bad "$name: unit $suite"
        fi
    done
    pass $((all - all_bad))
    echo "        $all checks, $all_bad failed, in $(($(date +%s) - began)) s"
}

# others NAME SECONDS WHAT: guards and replays, as automake counts them; WHAT: TESTS of the Makefile.
others() {
    name=$1
    log=$work/$name-check.log
    clock; echo "$name: $3"
    (cd "$work/$name" && timeout -k 10 "$2" make -j2 -k check TESTS="\$($3)") >"$log" 2>&1
    rc=$?
    total() { sed -n "s/^# $1: *\([0-9]*\).*/\1/p" "$log" | tail -1; }
    if test -z "$(total PASS)"; then
        tail -20 "$log"
        wrong 1 "$name: make check did not come to its end (status $rc)"
        return
    fi
    n_fail=$(($(total FAIL) + $(total ERROR) + $(total XPASS)))
    echo "        $(total PASS) passed, $n_fail failed, $(total SKIP) skipped"
    pass "$(total PASS)"
    if test $n_fail -gt 0 || test $rc != 0; then
        for t in $(sed -n 's/^\(FAIL\|ERROR\): \(test[^ ]*\).*/\2/p' "$log" | sort -u); do
            echo "---- $name: $t"
            tail -30 "$work/$name/${t%.sh}.log" | cut -c1-300
        done
        test $n_fail -gt 0 || n_fail=1
        wrong $n_fail "$name: make check"
    fi
    if test "$(total SKIP)" -gt 0; then
        skip "$(total SKIP)" "$name: $(sed -n 's/^SKIP: //p' "$log" | tr '\n' ' ')"
    fi
}

build gcc && suites gcc 300 && others gcc 300 guards && others gcc 300 replays
build clang CC=clang && suites clang 300 && others clang 300 replays
build asan --enable-sanitizers CFLAGS='-O1 -g' && suites asan 600 && others asan 300 replays
# ThreadSanitizer: what has threads. It does not see the atomics of a libcrypto that was built without it, as around
# the extensions that two threads' verifications cache in a shared trust anchor: only our own accesses count.
CK_TIMEOUT_MULTIPLIER=5 TSAN_OPTIONS=report_thread_leaks=0:ignore_noninstrumented_modules=1
export CK_TIMEOUT_MULTIPLIER TSAN_OPTIONS
build tsan --enable-sanitizers=thread CFLAGS='-O1 -g' &&
    suites tsan 600 manager program notify net transport selfcheck checker board staging presenter session client
unset CK_TIMEOUT_MULTIPLIER TSAN_OPTIONS

# What is missing is named by the package that has it.
mkdir "$work/bare"
(cd "$work/bare" && PKG_CONFIG_LIBDIR=/nonexistent PKG_CONFIG_PATH='' ../src/configure) >"$work/bare.log" 2>&1
if test $? != 0 && grep -q 'error: apr-1.* not found: install the Debian package libapr1-dev' "$work/bare.log"; then
    pass 1
else
    tail -5 "$work/bare.log"
    wrong 1 "configure without libraries"
fi

clock; echo "make install, make distcheck"
if (cd "$work/gcc" && make install DESTDIR="$work/dest" && find "$work/dest" -name mod_acmeclient.so | grep . &&
    find "$work/dest" -name acmeclient.load | grep . && make uninstall DESTDIR="$work/dest" &&
    ! find "$work/dest" -type f | grep .) >"$work/install.log" 2>&1; then
    pass 1
else
    tail -20 "$work/install.log"
    wrong 1 "make install DESTDIR=..."
fi
# The tests have run three times by now; here it is about what the archive holds.
if (cd "$work/gcc" && timeout -k 10 600 make -j2 distcheck) >"$work/distcheck.log" 2>&1; then
    pass 1
else
    grep -E '^(FAIL|ERROR)|[Ee]rror' "$work/distcheck.log" | head -20
    tail -20 "$work/distcheck.log"
    wrong 1 "make distcheck"
fi

# ---- a real httpd ----
# pytest_run NAME BUILD SECONDS ARGUMENT...
pytest_run() {
    name=$1 build=$2 limit=$3
    shift 3
    if test ! -f "$work/$build/.libs/mod_acmeclient.so"; then
        wrong 1 "$name: there is no module to test"
        return
    fi
    clock; echo "$name"
    (cd "$work/src/test/httpd" && ACMECLIENT_MODULE=$work/$build/.libs/mod_acmeclient.so \
        timeout -k 10 "$limit" /usr/bin/python3 -m pytest -p no:cacheprovider -q -rsfE --tb=short "$@") >"$work/$name.log" 2>&1
    rc=$?
    last=$(grep -E '^[0-9]+ (passed|failed|skipped|error|deselected).* in [0-9.]+s' "$work/$name.log" | tail -1)
    number() { echo "$last" | sed -n "s/.*\b\([0-9][0-9]*\) $1.*/\1/p" | grep . || echo 0; }
    echo "        ${last:-no result}"
    pass "$(number passed)"
    bad=$(($(number failed) + $(number error)))
    if test -z "$last" || test $bad -gt 0 || test $rc -gt 1; then
        tail -150 "$work/$name.log" | cut -c1-400
        test $bad -gt 0 || bad=1
        wrong $bad "$name (status $rc)"
    fi
    if test "$(number skipped)" -gt 0; then
        skip "$(number skipped)" "$name:
$(grep '^SKIPPED' "$work/$name.log" | cut -c1-200 | sed 's/^/    /')"
    fi
}
if test -n "$sweep"; then
    pytest_run pytest gcc 7200 --sweep
else
    pytest_run pytest gcc 900 -n 3 -m "not alone"
    pytest_run pytest-alone gcc 600 -m alone
fi
# All of it once more with every access to memory watched; swap and owner with those of threads.
ACMECLIENT_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"; export ACMECLIENT_PRELOAD
pytest_run pytest-asan asan 900 -n 3 -m "not alone"
ACMECLIENT_PRELOAD=$(gcc -print-file-name=libtsan.so)
pytest_run pytest-tsan tsan 300 -n 2 -m "not alone" test_first.py test_swap.py
unset ACMECLIENT_PRELOAD

# ---- the demo ----
clock; echo "demo"
if ACMECLIENT_MODULE=$work/gcc/.libs/mod_acmeclient.so timeout -k 10 120 sh "$top/test/demo.sh" </dev/null >"$work/demo.log" 2>&1; then
    pass 1
else
    tail -40 "$work/demo.log"
    wrong 1 "test/demo.sh"
fi

# ---- fuzzing ----
if test -n "$sweep"; then
    clock; echo "fuzzing, 60 s each"
    mkdir "$work/fuzz"
    if (cd "$work/fuzz" && ../src/configure CC=clang --enable-fuzzers CFLAGS='-O1 -g' && make -j2) >"$work/fuzz.log" 2>&1; then
        for target in "$work"/fuzz/test/fuzz/fuzz_*; do
            noun=${target##*/fuzz_}
            case $noun in *.*) continue ;; esac
            mkdir -p "$work/corpus/$noun"
            if "$target" -max_total_time=60 -timeout=10 "$work/corpus/$noun" "$work/src/test/data/corpus/$noun" >"$work/fuzz-$noun.log" 2>&1; then
                pass 1
            else
                tail -30 "$work/fuzz-$noun.log"
                wrong 1 "fuzz_$noun"
            fi
        done
    else
        skip 1 "fuzzers: $(grep 'error:' "$work/fuzz.log" | head -1)"
    fi
else
    skip 0 "fuzzing and the tests marked sweep: use --sweep"
fi

# ---- nothing may be left ----
left=$(for dir in /proc/[0-9]*; do
    case $(readlink "$dir/exe" 2>/dev/null) in
    */apache2 | */httpd | */pebble | */pebble-challtestsrv)
        tr '\0' '\n' <"$dir/environ" 2>/dev/null | grep -qx "ACMECLIENT_CHECK=$work" && echo "${dir#/proc/}" ;;
    esac
done)
if test -z "$left"; then pass 1; else wrong 1 "processes were left behind: $left"; fi

note "summary after $(($(date +%s) - started)) s"
sort -u "$reasons"
echo "$passed passed, $failed failed, $skipped skipped"
test "$failed" = 0
