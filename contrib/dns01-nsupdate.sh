#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# A program for AcmeDns01Command: publishes and removes the TXT records of dns-01 by RFC 2136, with nsupdate (bind9) or
# knsupdate (knot).
#
#   AcmeDns01Command /usr/share/mod_acmeclient/dns01-nsupdate.sh -k /etc/acmeclient/tsig.key -s 192.0.2.53
#
#   -k FILE   the TSIG key: a file as tsig-keygen (bind9) or keymgr -t (knot) writes it, or one line ALGORITHM:NAME:SECRET;
#             readable for the user that the program runs as, and for nobody else
#   -s HOST   the zone's primary server; without it the one in the zone's SOA record is asked
#   -p PORT   of it (53)
#   -z ZONE   the zone; without it the one whose SOA record is found is taken
#   -t TTL    of the record in seconds (60)
#   -c        do not follow a CNAME of the record into another zone
#
# A value is added beside what is there, and only that value is removed. An alias of the record (_acme-challenge.NAME as a
# CNAME into a zone that may be updated) is followed with dig or kdig, by the system's resolver.
set -u
LC_ALL=C; export LC_ALL
key= server= port=53 zone= ttl=60 follow=yes

fail() { echo "$*" >&2; exit 1; }

while getopts k:s:p:z:t:c option; do
    case $option in
    k) key=$OPTARG ;;
    s) server=$OPTARG ;;
    p) port=$OPTARG ;;
    z) zone=$OPTARG ;;
    t) ttl=$OPTARG ;;
    c) follow=no ;;
    *) fail "usage: $0 [-k KEYFILE] [-s SERVER] [-p PORT] [-z ZONE] [-t TTL] [-c] setup|teardown NAME VALUE" ;;
    esac
done
shift $((OPTIND - 1))
test $# -eq 3 || fail "usage: $0 [options] setup|teardown NAME VALUE"
verb=$1 name=$2 value=$3
record=${ACME_DNS_RECORD:-_acme-challenge.$name}

# What goes into the update is written by lines: nothing but names and base64url may stand there.
case $record in *[!A-Za-z0-9._-]*|'') fail "\"$record\" is no name of a record" ;; esac
case $value in *[!A-Za-z0-9_-]*|'') fail "\"$value\" is no value of a challenge" ;; esac
test -z "$key" || test -r "$key" || fail "the key $key cannot be read by $(id -un)"

# By standard input, never by arguments: those are everybody's.
tsig=
if test -n "$key"; then
    text=$(grep -v '^ *\(//\|#[^#]*$\)' "$key" | tr '\n\t' '  ')
    case $text in
    *'{'*)
        id=$(echo "$text" | sed -n 's/.*key *"\{0,1\}\([^" {;]*\)"\{0,1\} *{.*/\1/p')
        algorithm=$(echo "$text" | sed -n 's/.*algorithm *"\{0,1\}\([^" ;]*\)"\{0,1\} *;.*/\1/p')
        secret=$(echo "$text" | sed -n 's/.*secret *"\{0,1\}\([^" ;]*\)"\{0,1\} *;.*/\1/p')
        ;;
    *)
        line=$(sed -n 's/^#\{0,1\} *\([a-z0-9-]*:[^: ]*:[A-Za-z0-9+/=]*\) *$/\1/p' "$key" | head -n 1)
        algorithm=${line%%:*} secret=${line##*:} id=${line#*:} id=${id%:*}
        ;;
    esac
    test -n "$id" && test -n "$algorithm" && test -n "$secret" || fail "$key holds no TSIG key"
    tsig="key $algorithm:$id $secret"
fi

program=
for candidate in ${NSUPDATE:-nsupdate knsupdate}; do
    if command -v "$candidate" >/dev/null 2>&1; then program=$candidate; break; fi
done
test -n "$program" || fail "neither nsupdate nor knsupdate is installed"

dig=
for candidate in dig kdig; do
    if command -v "$candidate" >/dev/null 2>&1; then dig=$candidate; break; fi
done

if test "$follow" = yes; then
    n=0
    while test -n "$dig" && test $n -lt 8; do
        alias=$("$dig" +short +time=3 +tries=2 CNAME "$record." 2>/dev/null | sed -n 's/\.$//p' | head -n 1)
        case $alias in ''|*[!A-Za-z0-9._-]*) break ;; esac
        record=$alias n=$((n + 1))
    done
fi

# nsupdate looks for zone and primary server itself, knsupdate does not.
case $program in
*knsupdate)
    if test -z "$zone" || test -z "$server"; then
        test -n "$dig" || fail "knsupdate needs dig or kdig, or -z ZONE and -s SERVER"
        soa=$("$dig" +noall +answer +authority +time=3 +tries=2 ${server:+@"$server" -p "$port"} "$record." SOA 2>/dev/null |
              awk '$4 == "SOA" { print $1, $5; exit }')
        test -n "$soa" || fail "the zone of $record was not found; name it with -z ZONE, and its server with -s SERVER"
        found=${soa%% *}
        zone=${zone:-${found%.}}
        primary=${soa##* }
        server=${server:-${primary%.}}
    fi
    ;;
esac

# With teardown nothing is wrong when the value is gone already: RFC 2136 deletes what is there.
case $verb in
setup) change="update add $record. $ttl TXT \"$value\"" ;;
teardown) change="update delete $record. TXT \"$value\"" ;;
*) fail "\"$verb\" is neither setup nor teardown" ;;
esac

said=$({
    test -z "$server" || echo "server $server $port"
    test -z "$zone" || echo "zone $zone."
    test -z "$tsig" || echo "$tsig"
    echo "$change"
    echo send
} | "$program" 2>&1)
status=$?
# knsupdate tells of a refusal and exits with 0.
case $said in *"update failed"*|*REFUSED*|*NOTAUTH*|*BADKEY*|*BADSIG*|*BADTIME*|*SERVFAIL*|*NOTZONE*|*error*) test $status -ne 0 || status=1 ;; esac
test $status -eq 0 && exit 0
case $said in
*BADTIME*) why="the clocks of this machine and of the server differ" ;;
*BADKEY*|*"expected a TSIG"*) why="the server does not know this key, or (knot) the key may not do this" ;;
*BADSIG*) why="the key's secret is not the server's" ;;
*NOTAUTH*) why="the server is not the zone's primary, or (knot) the key may not change this record" ;;
*REFUSED*) why="the server's policy does not let this key change this record" ;;
*NOTZONE*) why="the record is not in this zone" ;;
*"not found"*|*"timed out"*|*unreachable*|*"connection refused"*) why="the server does not answer" ;;
*) why="the update failed" ;;
esac
fail "$verb $record: $why: $(echo "$said" | tr '\n' ' ' | cut -c1-400)"
