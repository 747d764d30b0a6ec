#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# A guard that cannot fail guards nothing: each is given a small good tree, which it must accept, and the same tree with
# one thing wrong, which it must refuse.
# Usage: check_guards.sh
LC_ALL=C; export LC_ALL
here=$(cd "${srcdir:-.}/test" && pwd) || exit 2
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
good=$work/good
rc=0
license='/* Licensed under the Apache License, Version 2.0; see LICENSE. */'

mkdir -p "$good"
(
    cd "$good" || exit 2
    mkdir -p src/base src/crypto src/protocol src/io mod_acmeclient acmectl conf docs test/unit test/fuzz test/data/corpus/url test/httpd/lib
    printf '%s\n#include "base/url.h"\n\nint url(int a)\n{\n    if (a) {\n        return say("AC0101");\n    }\n    else {\n        return 0;\n    }\n}\n' "$license" >src/base/url.c
    printf '%s\nint url(int a);\n' "$license" >src/base/url.h
    printf '%s\n#include "base/url.h"\n#include <string.h>\n' "$license" >src/protocol/http.c
    printf '%s\n#include "directives.h"\n#include "httpd.h"\n' "$license" >mod_acmeclient/config.c
    printf '%s\n#include "acme.h"\n' "$license" >acmectl/main.c
    printf '%s\nDIRECTIVE(AcmeEngine, CTX_POLICY, 1, 1, onoff, "off")\n' "$license" >mod_acmeclient/directives.h
    printf '#AcmeEngine off\n' >conf/acmeclient.conf
    printf '### AcmeEngine\n    Syntax:  AcmeEngine on|off\n    Default: AcmeEngine off\n' >docs/manual.md
    printf '%s\nSUITE(url)\n' "$license" >test/unit/suites.h
    printf '%s\nSTART_TEST(one)\n{\n    ck_assert(1);\n}\nEND_TEST\n\nSuite *url_suite(void)\n{\n    tcase_add_test(c, one);\n    suite_add_tcase(s, c);\n}\n' "$license" >test/unit/test_url.c
    printf '%s\nint LLVMFuzzerTestOneInput(void);\n' "$license" >test/fuzz/fuzz_url.c
    echo x >test/data/corpus/url/seed
    printf 'ROWS = {"AcmeEngine": 1}\n\n\ndef test_it():\n    pass\n' >test/httpd/test_directives.py
    echo '# conftest' >test/httpd/conftest.py
    echo '# lib' >test/httpd/lib/util.py
    : >test/check_x.sh
    for row in A1 A2 A3 A4 A5 A6 A7 A8 A9 B1 B2 B3 B4 B5 B6 B7 C1 C2 C3 C4 C5 C6 C7 D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 E1 E2 E3 E4 E5 \
        F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 F11 F12 F13; do
        echo "| $row | what | test_url.c:one test_directives.py:test_it |"
    done >docs/SEED.md
    cp "$here/../docs/migrating.md" docs/migrating.md
    echo "x = src/base/url.c src/base/url.h src/protocol/http.c mod_acmeclient/config.c mod_acmeclient/directives.h acmectl/main.c test/unit/suites.h test/unit/test_url.c test/fuzz/replay_url test/check_x.sh" >Makefile.am
)
cp "$here/../.clang-format" "$good/.clang-format"

accepts() {
    out=$(sh "$here/check_$1.sh" "$good" 2>&1)
    code=$?
    test $code = 0 || test $code = 77 || { echo "check_$1.sh refuses the good tree: $out"; rc=1; }
}
# refuses GUARD FILE TEXT...: the file gets the text at its end.
refuses() {
    guard=$1 file=$2
    shift 2
    rm -rf "$work/bad"
    cp -R "$good" "$work/bad"
    printf '%b\n' "$@" >>"$work/bad/$file"
    expect "$guard" "$file + $*"
}
# without GUARD FILE PATTERN: the file loses the lines.
without() {
    rm -rf "$work/bad"
    cp -R "$good" "$work/bad"
    grep -v "$3" "$good/$2" >"$work/bad/$2"
    expect "$1" "$2 - $3"
}
expect() {
    sh "$here/check_$1.sh" "$work/bad" >/dev/null 2>&1
    test $? = 1 || { echo "check_$1.sh accepts: $2"; rc=1; }
}

for guard in layers functions banned tests log_ids directives format seed; do accepts $guard; done

refuses layers src/base/url.c '#include "protocol/http.h"'
refuses layers src/base/url.c '#include "url.h"'
refuses layers src/base/url.c '#include <httpd.h>'
refuses layers src/io/net.c '#include <http_log.h>'
refuses layers src/io/net.c '#include <jansson.h>'
refuses layers src/base/name.c '#include <idn2.h>'
refuses layers src/protocol/http.c '#include <openssl/evp.h>'
refuses layers mod_acmeclient/config.c '#include <openssl/ssl.h>'
refuses layers acmectl/main.c '#include <openssl/evp.h>'
refuses layers acmectl/main.c '#include <httpd.h>'
refuses layers src/protocol/http.c '#include <sys/socket.h>'
refuses layers src/protocol/http.c '#include <apr_file_io.h>'
refuses layers src/protocol/http.c 'int f(void)\n{\n    return apr_time_now();\n}'
refuses layers src/protocol/http.c 'int f(void)\n{\n    return apr_generate_random_bytes(a, 1);\n}'

long=$(awk 'BEGIN { printf "int f(void)\\n{\\n"; for (i = 0; i < 79; i++) printf "    a();\\n"; print "}" }')
refuses functions src/base/url.c "$long"
refuses functions mod_acmeclient/config.c "$long"
refuses functions test/unit/test_url.c "$long"

for name in strcpy strcat sprintf vsprintf strtok strtol strtoull atoi atol sscanf system popen tmpnam mktemp gets access alloca; do
    refuses banned src/base/url.c "int f(void)\n{\n    return $name(a);\n}"
done
refuses banned src/base/url.c '// a comment'
refuses banned src/base/url.c "/* $(printf '%0100d' 0) */"

refuses tests test/unit/suites.h 'SUITE(gone)'
without tests test/unit/suites.h 'SUITE(url)'
without tests test/unit/test_url.c tcase_add_test
refuses tests test/unit/test_url.c 'START_TEST(two)\n{\n}\nEND_TEST'
refuses tests test/unit/test_new.c "$license"
refuses tests test/fuzz/fuzz_new.c "$license"
refuses tests src/base/new.c "$license"
refuses tests acmectl/new.c "$license"
refuses tests test/check_new.sh ''
without tests test/httpd/test_directives.py test_it
refuses tests test/httpd/test_directives.py 'def test_it():\n    pass'
refuses tests test/httpd/extra.py 'def test_forgotten():\n    pass'
rm -rf "$work/bad"; cp -R "$good" "$work/bad"; rm "$work/bad/test/data/corpus/url/seed"; expect tests 'an empty corpus'

refuses log_ids src/protocol/http.c 'int f(void)\n{\n    return say("AC0101");\n}'
refuses log_ids src/protocol/http.c 'int f(void)\n{\n    return say("AC123");\n}'

refuses directives mod_acmeclient/directives.h 'DIRECTIVE(AcmeNew, CTX_POLICY, 1, 1, onoff, "off")'
refuses directives mod_acmeclient/directives.h 'DIRECTIVE(AcmeEngine, CTX_POLICY, 1, 1, onoff, "off")'
without directives conf/acmeclient.conf AcmeEngine
without directives docs/manual.md 'Syntax'
without directives docs/manual.md 'Default'
without directives test/httpd/test_directives.py ROWS
refuses directives conf/acmeclient.conf '#AcmeGone off'
refuses directives docs/manual.md '### AcmeGone'
refuses directives mod_acmeclient/config.c 'AP_INIT_TAKE1("AcmeHidden", f, NULL, 0, "")'

refuses format src/base/url.c 'int f(void)\n{\n\treturn 0;\n}'
refuses format src/base/url.c 'int f(void)\n{\n    if (a) {\n        g();\n    } else {\n        h();\n    }\n}'
refuses format src/io/net.c 'int a;'
if clang-format --version >/dev/null 2>&1; then
    refuses format src/base/url.c 'int f(void)\n{\n  return 0;\n}'
    refuses format src/base/url.c 'int f(void) {\n    return 0;\n}'
fi

without seed docs/SEED.md '^| D10 '
without seed test/unit/test_url.c START_TEST
without seed test/httpd/test_directives.py test_it
refuses seed docs/SEED.md '| F14 | what | test_url.c:one |'
refuses seed docs/SEED.md '| F13 | what | test_url.c:one |'
rm -rf "$work/bad"; cp -R "$good" "$work/bad"; sed -i 's/^| B3 .*/| B3 | what | - |/' "$work/bad/docs/SEED.md"; expect seed 'a row without a test'
rm -rf "$work/bad"; cp -R "$good" "$work/bad"; sed -i 's/^| B3 .*/| B3 | what | a look |/' "$work/bad/docs/SEED.md"; expect seed 'a test that is none'

# The page names all directives there are, so its good tree is the real list.
cp "$here/../mod_acmeclient/directives.h" "$good/mod_acmeclient/directives.h"
accepts migrating
without migrating docs/migrating.md '^| `MDProfile` '
without migrating docs/migrating.md '^| `cert-path` '
without migrating docs/migrating.md 'agree-tos'
without migrating mod_acmeclient/directives.h '(AcmeRenewBefore,'
refuses migrating docs/migrating.md 'See `AcmeNothing`.'
refuses migrating docs/migrating.md '| `--x` | |'
refuses migrating docs/migrating.md '| `MDProfile` | twice |'

# The module: one that exports more.
mkdir -p "$work/so"
echo 'int acmeclient_module; int leaked;' >"$work/so/a.c"
echo 'int acmeclient_module;' >"$work/so/b.c"
if ${CC:-cc} -shared -fPIC -Wl,-z,relro -Wl,-z,now -o "$work/so/a.so" "$work/so/a.c" 2>/dev/null; then
    ${CC:-cc} -shared -fPIC -Wl,-z,relro -Wl,-z,now -o "$work/so/b.so" "$work/so/b.c"
    ${CC:-cc} -shared -fPIC -Wl,-z,relro -Wl,-z,lazy -o "$work/so/c.so" "$work/so/b.c"
    if sh "$here/check_exports.sh" "$work/so/a.so" >/dev/null; then echo "check_exports.sh accepts a second symbol"; rc=1; fi
    sh "$here/check_exports.sh" "$work/so/b.so" || { echo "check_exports.sh refuses a good module"; rc=1; }
    if sh "$here/check_exports.sh" "$work/so/c.so" >/dev/null; then echo "check_exports.sh accepts lazy binding"; rc=1; fi
fi
if sh "$here/check_exports.sh" "$work/so/none.so" >/dev/null; then echo "check_exports.sh accepts no module"; rc=1; fi
exit $rc
