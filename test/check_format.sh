#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# The layout of .clang-format, where clang-format is installed; skipped (77) where it is not. Compared is the skeleton:
# the indentation of every statement and the place of braces, so that versions of clang-format agree.
# Usage: check_format.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
files=$(find src mod_acmeclient acmectl test -name '*.[ch]' 2>/dev/null)
test -n "$files" || { echo "no C files here"; exit 2; }
rc=0
# What needs no tool.
tab=$(printf '\t')
if grep -nE "$tab|[[:space:]]\$" $files /dev/null; then echo "tabs or trailing blanks"; rc=1; fi
if grep -nE '^[[:space:]]*\}[[:space:]]*else\b' $files /dev/null; then echo "else stands on its own line"; rc=1; fi
for file in $files; do
    head -1 "$file" | grep -qF '/* Licensed under the Apache License, Version 2.0; see LICENSE. */' ||
        { echo "$file: first line is not the license's"; rc=1; }
done
test $rc = 0 || exit $rc
clang-format --version >/dev/null 2>&1 || { echo "clang-format is not installed"; exit 77; }
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
skeleton() {
    grep -nE '^([{}]$|[[:space:]]*(if|else|for|while|do|switch|case|return|goto|break|continue)\b)' | cut -d: -f2- |
        sed -E 's/^([[:space:]]*(else if|else|if|for|while|do|switch|case|return|goto|break|continue)).*$/\1/'
}
for file in $files; do
    skeleton <"$file" >"$dir/is"
    clang-format -style=file "$file" | skeleton >"$dir/should"
    cmp -s "$dir/is" "$dir/should" || { echo "$file: is < > should be"; diff "$dir/is" "$dir/should" | head -10; rc=1; }
done
exit $rc
