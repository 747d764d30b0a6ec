#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# Every directive of directives.h has context, default, an entry in conf/acmeclient.conf, one synopsis in the manual and
# a row in the table of test/httpd/test_directives.py; and none of these names one that does not exist.
# Usage: check_directives.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
list=mod_acmeclient/directives.h conf=conf/acmeclient.conf manual=docs/manual.md table=test/httpd/test_directives.py
rc=0
say() { echo "$*"; rc=1; }
names=$(sed -n 's/^DIRECTIVE(\([A-Za-z0-9]*\),.*/\1/p' $list)
test -n "$names" || { echo "$list: no directives"; exit 2; }
for name in $names; do
    test "$(echo "$names" | grep -cx "$name")" = 1 || say "$list: $name more than once"
    grep -qE "^DIRECTIVE\($name, (CTX_[A-Z]+( \| )?)+, [0-9]+, [0-9]+, [a-z_]+, \".+\"\)$" $list ||
        say "$list: $name lacks context, numbers of arguments, form or default"
    grep -qE "^#? *$name( |\$)" $conf || say "$conf: no $name"
    grep -qE "^#+ $name\$" $manual || say "$manual: no section $name"
    test "$(grep -cE "^ *Syntax: +$name( |\$)" $manual)" -ge 1 || say "$manual: no synopsis of $name"
    awk -v name="$name" '/^#/ { mine = $2 == name } mine && /^ *Default: / { found = 1 } END { exit !found }' $manual ||
        say "$manual: no default of $name"
    grep -qE "[\"']$name[\"']" $table || say "$table: no row for $name"
done
for name in $(grep -oE '^#? *Acme[A-Za-z0-9]+' $conf | grep -oE 'Acme[A-Za-z0-9]+' | sort -u) \
            $(sed -n 's/^#* \(Acme[A-Za-z0-9]*\)$/\1/p' $manual); do
    echo "$names" | grep -qx "$name" || say "$conf or $manual: $name is no directive"
done
# Anything that is configured goes through the list: no command table beside it.
if grep -nE 'AP_INIT_[A-Z0-9_]+\( *"Acme' mod_acmeclient/*.c; then say "a directive beside $list"; fi
exit $rc
