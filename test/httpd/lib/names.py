# Licensed under the Apache License, Version 2.0; see LICENSE.
"""The addresses of names, as the system's resolver of one httpd gives them (a getaddrinfo of our own, preloaded).

    names = Names(directory, {"a.test": ["127.0.0.1", "127.0.0.9"]})
    httpd = make_httpd(env=names.env)
    names.set("b.test", ["::1"])          from now on; names under .test that are not set have no address
"""
import os
import shutil
import subprocess

import pytest

SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef int lookup_t(const char *, const char *, const struct addrinfo *, struct addrinfo **);

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    lookup_t *next = (lookup_t *)dlsym(RTLD_NEXT, "getaddrinfo");
    const char *path = getenv("ACMECLIENT_TEST_NAMES");
    size_t len = node ? strlen(node) : 0;
    FILE *file = len > 5 && strcmp(node + len - 5, ".test") == 0 && path ? fopen(path, "r") : NULL;
    char name[300], address[100];
    struct addrinfo **end = out;

    if (!file || (hints && hints->ai_flags & AI_NUMERICHOST)) {
        if (file) {
            fclose(file);
        }
        return next(node, service, hints, out);
    }
    *out = NULL;
    while (fscanf(file, "%299s %99s", name, address) == 2) {
        if (strcmp(name, node) == 0 && next(address, service, hints, end) == 0) {
            while (*end) {
                end = &(*end)->ai_next;
            }
        }
    }
    fclose(file);
    return *out ? 0 : EAI_NONAME;
}
"""


class Names:
    def __init__(self, directory, table):
        compiler = shutil.which("gcc") or shutil.which("cc")
        if not compiler:
            pytest.skip("no C compiler for the resolver of the test")
        self.file, self.table = os.path.join(str(directory), "names"), dict(table)
        library = os.path.join(str(directory), "names.so")
        subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, "-x", "c", "-", "-ldl"], input=SOURCE.encode(), check=True)
        os.chmod(library, 0o755)
        self.env = {"LD_PRELOAD": library, "ACMECLIENT_TEST_NAMES": self.file}
        self._write()

    def _write(self):
        with open(self.file, "w") as file:
            file.writelines("%s %s\n" % (name, address) for name, addresses in self.table.items() for address in addresses)
        os.chmod(self.file, 0o644)

    def set(self, name, addresses):
        self.table[name] = addresses
        self._write()
