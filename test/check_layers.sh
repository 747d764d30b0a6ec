#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# An include points to its own folder or one below it; each foreign library has its places; protocol/ is pure.
# Usage: check_layers.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
test -d src || { echo "no src/ here"; exit 2; }
bad=$(
    grep -rnE '^[[:space:]]*#[[:space:]]*include' --include='*.c' --include='*.h' src mod_acmeclient $(ls -d acmectl 2>/dev/null) | awk '
    BEGIN {
        n = split("base crypto protocol io store engine", order, " ")
        for (i = 1; i <= n; i++) rank[order[i]] = i
    }
    {
        split($0, at, ":")
        file = at[1]
        what = $0; sub(/^[^<"]*[<"]/, "", what); sub(/[>"].*$/, "", what)
        quoted = $0 ~ /#[ \t]*include[ \t]*"/
        split(file, part, "/")
        glue = part[1] == "mod_acmeclient" || part[1] == "acmectl"
        layer = glue ? "" : part[2]
        split(what, to, "/")
        if (what ~ /^(httpd|http_[a-z0-9_]*|ap_[a-z0-9_]*|util_[a-z0-9_]*|mod_[a-z0-9_]*|mpm_common|unixd|scoreboard)\.h$/ && part[1] != "mod_acmeclient")
            print file ":" at[2] ": httpd header " what " outside mod_acmeclient/"
        if (!glue && layer in rank && quoted) {
            if (!(to[1] in rank) || what !~ /\//)
                print file ":" at[2] ": \"" what "\" is not LAYER/file.h"
            else if (rank[to[1]] > rank[layer])
                print file ":" at[2] ": " layer "/ includes " what ", which lies above it"
        }
        if (!glue && !(layer in rank) && file != "src/acme.h")
            print file ":" at[2] ": folder of no known layer"
        if (what ~ /^jansson/ && file != "src/base/json.c")
            print file ":" at[2] ": jansson belongs to src/base/json.c"
        if (what ~ /^idn2/ && file != "src/base/idn.c")
            print file ":" at[2] ": idn2 belongs to src/base/idn.c"
        if (what ~ /^openssl\// && layer != "crypto" && file !~ /^(src\/io\/tls\.c|mod_acmeclient\/(hotswap\.c|tls_challenge\.c|ssl_hooks\.h))$/)
            print file ":" at[2] ": " what " outside crypto/, io/tls.c, hotswap.c, tls_challenge.c"
        if (layer == "protocol" && what ~ /^(sys\/(socket|stat|time|file|mman|wait|un|select|uio|ioctl)|netinet\/.*|arpa\/.*|netdb|poll|fcntl|unistd|stdio|time|dirent|pthread|signal|apr_(file_io|file_info|network_io|poll|portable|proc_mutex|thread_.*|random|shm|mmap|global_mutex))\.h$/)
            print file ":" at[2] ": protocol/ is pure, it has no use for " what
    }'
    grep -nE '\b(apr_time_now|apr_file_[a-z_]+|apr_socket_[a-z_]+|apr_generate_random_bytes|gettimeofday|clock_gettime|getrandom|RAND_bytes|time)[[:space:]]*\(' \
        $(find src/protocol -name '*.[ch]') /dev/null | grep -vE ':[[:space:]]*(/?\*)' | grep -vE '[a-z_>.](->)?time[[:space:]]*\(' |
        sed 's/$/   <- protocol\/ is pure/'
)
test -z "$bad" || { printf '%s\n' "$bad"; exit 1; }
