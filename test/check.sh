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
    pebble caddy curl strace faketime procps iproute2 certbot lego python3-jwcrypto
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

# build NAME SECONDS CONFIGURE-ARGUMENT...: out of tree; then make check, each test of it counted.
build() {
    name=$1 limit=$2
    shift 2
    clock; echo "$name: configure, make, make check"
    mkdir "$work/$name"
    if ! (cd "$work/$name" && ../src/configure --prefix="$work/inst" "$@" && make -j2) >"$work/$name.log" 2>&1; then
        grep -E '(error|warning|configure: error)' "$work/$name.log" | head -20
        tail -5 "$work/$name.log"
        wrong 1 "$name: build"
        return 1
    fi
    pass 1
    (cd "$work/$name" && timeout -k 10 "$limit" make -j2 -k check) >"$work/$name-check.log" 2>&1
    rc=$?
    count "$name" "$rc"
}

# automake's own totals, with libcheck's in place of its one line for the unit tests.
count() {
    log=$work/$1-check.log
    n_pass=$(sed -n 's/^# PASS: *\([0-9]*\).*/\1/p' "$log" | tail -1)
    n_fail=$(sed -n 's/^# \(FAIL\|ERROR\|XPASS\): *\([0-9]*\).*/\2/p' "$log" | awk '{ n += $1 } END { print n + 0 }')
    n_skip=$(sed -n 's/^# SKIP: *\([0-9]*\).*/\1/p' "$log" | tail -1)
    unit=$(grep -hE '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+' "$work/$1/test/unit/unit.log" 2>/dev/null | tail -1)
    if test -z "$n_pass" || test -z "$unit"; then
        tail -20 "$log"
        tail -20 "$work/$1/test/unit/unit.log" 2>/dev/null
        wrong 1 "$1: make check did not come to its end (status $2)"
        return
    fi
    checks=$(echo "$unit" | sed 's/.*Checks: \([0-9]*\).*/\1/')
    bad=$(echo "$unit" | sed 's/.*Failures: \([0-9]*\), Errors: \([0-9]*\).*/\1 \2/' | awk '{ print $1 + $2 }')
    # The line of automake for the unit tests goes away, theirs come instead.
    if test "$bad" = 0 && grep -q '^PASS: test/unit/unit$' "$log"; then n_pass=$((n_pass - 1)); else n_fail=$((n_fail - 1)); fi
    echo "        unit: $unit; others: $n_pass passed, $n_fail failed, $n_skip skipped"
    pass $((n_pass + checks - bad))
    if test $((n_fail + bad)) -gt 0 || test "$2" != 0; then
        for t in $(sed -n 's/^\(FAIL\|ERROR\): \(test[^ ]*\).*/\2/p' "$log" | sort -u); do
            echo "---- $1: $t"
            tail -30 "$work/$1/${t%.sh}.log" | cut -c1-300
        done
        test $((n_fail + bad)) -gt 0 || n_fail=1
        wrong $((n_fail + bad)) "$1: make check"
    fi
    if test "$n_skip" -gt 0; then
        skip "$n_skip" "$1: $(sed -n 's/^SKIP: //p' "$log" | tr '\n' ' ')"
    fi
}

build gcc 400 --enable-werror
build clang 400 CC=clang --enable-werror
build asan 600 --enable-werror --enable-sanitizers CFLAGS='-O1 -g'

# ThreadSanitizer: what has threads.
clock; echo "tsan: configure, make, unit tests of what has threads"
mkdir "$work/tsan"
if (cd "$work/tsan" && ../src/configure --enable-werror --enable-sanitizers=thread CFLAGS='-O1 -g' &&
    make -j2 all test/unit/unit) >"$work/tsan.log" 2>&1; then
    pass 1
    (cd "$work/tsan" && CK_TIMEOUT_MULTIPLIER=5 TSAN_OPTIONS=report_thread_leaks=0 timeout -k 10 600 \
        test/unit/unit net transport board staging presenter session client manager) >"$work/tsan-check.log" 2>&1
    unit=$(grep -E '^[0-9]+%: Checks: [0-9]+, Failures: [0-9]+, Errors: [0-9]+' "$work/tsan-check.log" | tail -1)
    echo "        unit: ${unit:-no result}"
    case $unit in
    "100%: "*) pass "$(echo "$unit" | sed 's/.*Checks: \([0-9]*\).*/\1/')" ;;
    *) tail -40 "$work/tsan-check.log" | cut -c1-300; wrong 1 "tsan: unit tests" ;;
    esac
else
    tail -20 "$work/tsan.log"
    wrong 1 "tsan: build"
fi

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
