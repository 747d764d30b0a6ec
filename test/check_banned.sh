#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# Functions that have no place here: unbounded copies, unchecked numbers, shells, races with file names.
# Usage: check_banned.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
files=$(find src mod_acmeclient acmectl test bench -name '*.[ch]' 2>/dev/null)
test -n "$files" || { echo "no C files here"; exit 2; }
names='strcpy|strcat|stpcpy|sprintf|vsprintf|strtok|strtok_r|strto[a-z]+|apr_strtoi64|apr_atoi64|apr_strtok|ato[ifl]|atoll|v?f?scanf|v?sscanf|system|popen|tmpnam|tempnam|mktemp|gets|access|alloca'
# Comments and strings may name them.
awk -v names="(^|[^A-Za-z0-9_])($names)[ \t]*\\\\(" '
FNR == 1 { comment = 0 }
{
    line = $0
    gsub(/\\"/, "", line); gsub(/"[^"]*"/, "\"\"", line)
    if (comment) { if (line !~ /\*\//) next; sub(/^.*\*\//, "", line); comment = 0 }
    gsub(/\/\*([^*]|\*[^\/])*\*\//, " ", line)
    if (line ~ /\/\*/) { sub(/\/\*.*$/, "", line); comment = 1 }
    if (line ~ names) { printf "%s:%d: banned: %s\n", FILENAME, FNR, $0; bad = 1 }
    if (line ~ /(^|[^:])\/\//) { printf "%s:%d: comments are /* */: %s\n", FILENAME, FNR, $0; bad = 1 }
    if (length($0) > 100) { printf "%s:%d: %d columns\n", FILENAME, FNR, length($0); bad = 1 }
}
END { exit bad }' $files
