#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# From thin air: an httpd without any certificate gets one from a private CA and serves it, without a restart.
# Everything that is said here is read from the live system; the script fails if any of it is not so.
#
#   sh test/demo.sh      on a terminal it waits for Enter at the end, so that you can try it
LC_ALL=C; export LC_ALL
PATH=$PATH:/usr/sbin:/sbin; export PATH
top=$(cd "$(dirname "$0")/.." && pwd)
umask 022
work=$(mktemp -d "${TMPDIR:-/tmp}/acmeclient-demo-XXXXXX") || exit 1
chmod 755 "$work"
pids=
. "$top/test/common.sh"

name=demo.example
store=$work/store

cleanup() {
    trap - EXIT INT TERM HUP
    if test -s "$work/httpd.pid"; then
        httpd=$(cat "$work/httpd.pid")
        all="$httpd $(children_of "$httpd")"
        kill "$httpd" 2>/dev/null
        wait_until 50 gone $all || kill -9 $all 2>/dev/null
    fi
    for pid in $pids; do
        kill -CONT "$pid" 2>/dev/null
        kill "$pid" 2>/dev/null
    done
    for pid in $pids; do wait "$pid" 2>/dev/null; done
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP PIPE

fail() {
    printf '\nNOT SO: %s\n' "$*" >&2
    for log in httpd.err error.log pebble.log; do
        if test -s "$work/$log"; then
            printf -- '-- the end of %s:\n' "$log" >&2
            tail -15 "$work/$log" >&2
        fi
    done
    exit 1
}

# wait_until TENTHS COMMAND...
wait_until() {
    tenths=$1
    shift
    while ! "$@"; do
        tenths=$((tenths - 1))
        test $tenths -gt 0 || return 1
        sleep 0.1
    done
}

gone() {
    for pid; do
        if test -d "/proc/$pid" && ! grep -q '^State:[[:space:]]*Z' "/proc/$pid/status" 2>/dev/null; then
            return 1
        fi
    done
}

children_of() {
    for stat in /proc/[0-9]*/stat; do
        sed -n 's/^\([0-9]*\) (.*) [^Z] \([0-9]*\) .*/\1 \2/p' "$stat" 2>/dev/null
    done | awk -v parent="$1" '$2 == parent { print $1 }' | sort -n | tr '\n' ' ' | sed 's/ $//'
}

listens() { port_listens "$1"; }

port_listens() {
    awk -v port="$(printf ':%04X' "$1")" '$4 == "0A" && substr($2, length($2) - 4) == port { f = 1 } END { exit !f }' \
        /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# A fresh handshake: the certificate served to $name, into $work/seen.pem.
handshake() {
    timeout 10 openssl s_client -connect "127.0.0.1:$https_port" -servername "$name" </dev/null 2>/dev/null |
        openssl x509 -out "$work/seen.pem" 2>/dev/null
}

field() { openssl x509 -in "${2:-$work/seen.pem}" -noout "-$1" 2>/dev/null | sed "s/^$1=//; s/^ *//"; }

show() {
    printf '   serial  %s\n   issuer  %s\n   until   %s\n' "$(field serial)" "$(field issuer)" "$(field enddate | sed 's/^notAfter=//')"
    printf '   parent  %s\n   children %s\n' "$1" "$2"
}

from_the_ca() {
    handshake && test "$(field issuer)" != "$(field subject)" &&
        openssl verify -CAfile "$work/root.pem" -untrusted "$work/intermediate.pem" "$work/seen.pem" >/dev/null 2>&1
}

# ---- what is needed ----
need apache2-bin pebble openssl curl ca-certificates procps
module=${ACMECLIENT_MODULE:-$top/.libs/mod_acmeclient.so}
if test ! -f "$module"; then
    need $BUILD_PACKAGES
    note "building the module in $work"
    copy_tree "$work/src"
    mkdir "$work/build"
    (cd "$work/src" && autoreconf -fi && cd ../build && ../src/configure && make -j2 mod_acmeclient.la) >"$work/build.log" 2>&1 ||
        { tail -20 "$work/build.log" >&2; die "the module could not be built"; }
    module=$work/build/.libs/mod_acmeclient.so
fi
httpd_program=$(command -v apache2 || command -v httpd) || die "no httpd found"
for dir in /usr/lib/apache2/modules /usr/lib64/httpd/modules; do
    test ! -f "$dir/mod_ssl.so" || modules=$dir
done

# ---- a private CA ----
http_port=$(free_port) https_port=$(free_port) ca_port=$(free_port) manage_port=$(free_port)
dns_port=$(free_port) dns_manage_port=$(free_port)
mkdir "$work/pki" "$work/htdocs" "$work/run"
{
    cd "$work/pki" &&
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.pem -days 30 \
            -subj '/CN=the CA server itself' -addext 'keyUsage=critical,keyCertSign' &&
        openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout server.key -out server.csr -subj '/CN=127.0.0.1' &&
        printf 'subjectAltName=IP:127.0.0.1,DNS:localhost\nbasicConstraints=CA:FALSE\n' >ext &&
        openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -set_serial 2 -days 30 -extfile ext -out server.pem &&
        chmod 644 ./*
} >"$work/pki.log" 2>&1 || { cat "$work/pki.log" >&2; die "openssl made no PKI"; }
cd "$work" || exit 1
cat >"$work/pebble.json" <<JSON
{"pebble": {"listenAddress": "127.0.0.1:$ca_port", "managementListenAddress": "127.0.0.1:$manage_port",
 "certificate": "$work/pki/server.pem", "privateKey": "$work/pki/server.key", "httpPort": $http_port, "tlsPort": $https_port,
 "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": 7776000,
 "profiles": {"default": {"description": "90 days", "validityPeriod": 7776000}}}}
JSON
pebble=${PEBBLE:-$(command -v pebble)}
challtestsrv=$(dirname "$pebble")/pebble-challtestsrv
dns_flag=-dns01 doh=
if "$challtestsrv" -h 2>&1 | grep -q -- -dnsserver; then dns_flag=-dnsserver; fi
if "$challtestsrv" -h 2>&1 | grep -q -- '-doh '; then doh=1; fi
"$challtestsrv" $dns_flag "127.0.0.1:$dns_port" -management "127.0.0.1:$dns_manage_port" -http01 '' -https01 '' -tlsalpn01 '' \
    -defaultIPv4 127.0.0.1 -defaultIPv6 '' ${doh:+-doh ''} >"$work/dns.log" 2>&1 &
pids="$pids $!"
PEBBLE_VA_NOSLEEP=1 PEBBLE_WFE_NONCEREJECT=5 PEBBLE_AUTHZREUSE=0 \
    "$pebble" -config "$work/pebble.json" -strict -dnsserver "127.0.0.1:$dns_port" >"$work/pebble.log" 2>&1 &
ca=$!
pids="$pids $ca"
wait_until 100 listens "$ca_port" && wait_until 100 listens "$manage_port" || fail "Pebble did not start"
curl -s --cacert pki/ca.pem "https://127.0.0.1:$manage_port/roots/0" -o root.pem &&
    curl -s --cacert pki/ca.pem "https://127.0.0.1:$manage_port/intermediates/0" -o intermediate.pem ||
    fail "Pebble did not say what its root is"
note "a private ACME CA runs: https://127.0.0.1:$ca_port/dir (pid $ca)"

# ---- an httpd without a certificate ----
cp "$module" "$work/mod_acmeclient.so"
echo "This page was served with a certificate from thin air." >htdocs/index.html
load() {
    if ! "$httpd_program" -l | grep -q "mod_$1\.c"; then echo "LoadModule $1_module $modules/mod_$1.so"; fi
}
{
    for m in mpm_event unixd log_config authz_core watchdog dir socache_shmcb ssl; do load $m; done
    if test "$(id -u)" = 0; then printf 'User www-data\nGroup www-data\n'; fi
    cat <<CONF
ServerRoot $work
DefaultRuntimeDir $work/run
PidFile $work/httpd.pid
ErrorLog $work/error.log
LogLevel info
ServerName localhost
DocumentRoot $work/htdocs
<Directory $work/htdocs>
    Require all granted
</Directory>
StartServers 3
ServerLimit 3
ThreadsPerChild 10
MaxRequestWorkers 30
MinSpareThreads 1
MaxSpareThreads 30
Listen 127.0.0.1:$http_port
Listen 127.0.0.1:$https_port

LoadModule acmeclient_module $work/mod_acmeclient.so
AcmeEmail admin@example.org
AcmeTermsOfService accepted
AcmeDirectoryURL https://127.0.0.1:$ca_port/dir
AcmeCAFile $work/pki/ca.pem
AcmeStoreDir $store
AcmePortMap http:$http_port https:$https_port

<VirtualHost 127.0.0.1:$https_port>
    ServerName $name
    SSLEngine on
    AcmeEngine on
</VirtualHost>
CONF
} >httpd.conf
test ! -e "$store" || fail "there is a store already"

# The CA holds its breath until the first look: it is quick, and nobody would see the moment before.
kill -STOP "$ca"
"$httpd_program" -d "$work" -f "$work/httpd.conf" >"$work/httpd.err" 2>&1 || fail "httpd did not start"
wait_until 100 test -s "$work/httpd.pid" || fail "httpd wrote no pid"
parent=$(cat "$work/httpd.pid")
wait_until 100 listens "$https_port" || fail "httpd does not listen"
three() { test "$(children_of "$parent" | wc -w)" -eq 3; }
wait_until 100 three || fail "httpd has not its three children"
wait_until 50 handshake || fail "no handshake before there is a certificate"
children=$(children_of "$parent")
before=$(field serial)
test "$(field issuer)" = "$(field subject)" || fail "what is served at the start is not self-signed: $(field issuer)"
status=$(curl -sk -o /dev/null -w '%{http_code}' --resolve "$name:$https_port:127.0.0.1" "https://$name:$https_port/")
test "$status" = 503 || fail "before there is a certificate the answer is $status, not 503"
test ! -e "$store/$name.crt.pem" || fail "there is a certificate on disk already"
note "httpd runs and has no certificate: a self-signed placeholder, and 503"
show "$parent" "$children"

# ---- the certificate ----
kill -CONT "$ca"
began=$(date +%s)
wait_until 600 from_the_ca || fail "no certificate of the CA within a minute"
after=$(field serial)
now_children=$(children_of "$parent")
note "the CA's certificate is served to a fresh handshake ($(($(date +%s) - began)) s later), nobody restarted anything"
show "$(cat "$work/httpd.pid")" "$now_children"
test "$before" != "$after" || fail "the serial did not change"
test "$(cat "$work/httpd.pid")" = "$parent" && test -d "/proc/$parent" || fail "the parent changed"
test "$now_children" = "$children" || fail "the children changed: $children, then $now_children"
i=0
while test $i -lt 20; do
    handshake && test "$(field serial)" = "$after" || fail "handshake $i shows $(field serial), not $after"
    i=$((i + 1))
done
page=$(curl -s --cacert root.pem --resolve "$name:$https_port:127.0.0.1" "https://$name:$https_port/")
test "$page" = "$(cat htdocs/index.html)" || fail "curl, trusting the CA's root only, got: $page"
note "20 more handshakes show the same one; curl, which trusts nothing but the CA's root, gets the page:"
printf '   %s\n' "$page"
test ! -e "$store/$name.crt.pem" || fail "a child wrote the root-only file"

# ---- adoption ----
kill -USR1 "$parent"
adopted() { test -s "$store/$name.crt.pem" && test -s "$store/$name.key.pem"; }
others() { test -n "$(children_of "$parent")" && for pid in $children; do gone "$pid" || return 1; done; }
wait_until 150 adopted || fail "after a graceful restart the pair is not in $store"
wait_until 150 others || fail "the old children do not end"
test -d "/proc/$parent" || fail "httpd did not survive the graceful restart"
test "$(field serial "$store/$name.crt.pem")" = "$after" || fail "the adopted certificate is another one"
test "$(openssl x509 -in "$store/$name.crt.pem" -noout -pubkey)" = "$(openssl pkey -in "$store/$name.key.pem" -pubout 2>/dev/null)" ||
    fail "the adopted key does not match"
wait_until 50 handshake && test "$(field serial)" = "$after" || fail "after the graceful restart $(field serial) is served"
note "a graceful restart, and root has adopted the pair; the same serial is served"
ls -l "$store" | sed 's/^/   /'
show "$parent" "$(children_of "$parent")"

if test -t 0; then
    cat <<TEXT

It goes on running until you press Enter. Try, from another terminal:
   curl -v --cacert $work/root.pem --resolve $name:$https_port:127.0.0.1 https://$name:$https_port/
   openssl s_client -connect 127.0.0.1:$https_port -servername $name </dev/null | openssl x509 -noout -text
   tail -f $work/error.log
   $httpd_program -d $work -f $work/httpd.conf -t -D DUMP_ACME
   kill -USR1 $parent
TEXT
    read -r _ || true
fi
note "all of it was so"
