/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "store/pair.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <apr_strings.h>
#include "base/name.h"

#ifndef O_CLOEXEC
#define O_CLOEXEC 0
#endif

typedef struct {
    const char *path;
    apr_size_t max;
    const char *data; /* NULL: missing or unreadable */
    apr_size_t len;
    unsigned loosened;
    int missing, hidden, alien;
    acme_error_t err;
} part_t;

/* mod_ssl would read such a file; so that what was served goes on being served, it is looked at,
 * nothing more. */
static void read_alien(part_t *part, apr_pool_t *pool)
{
    int fd = open(part->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    char *data = apr_palloc(pool, part->max + 1);
    apr_size_t len = 0;
    struct stat st;
    ssize_t n = 1;

    if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
        && (apr_uint64_t)st.st_size <= part->max) {
        while (n > 0 && len < part->max) {
            n = read(fd, data + len, part->max - len);
            len += n > 0 ? (apr_size_t)n : 0;
        }
        data[len] = '\0';
        part->data = n >= 0 ? data : NULL;
        part->len = len;
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void part_read(part_t *part, uid_t uid, int tighten, int secret, apr_pool_t *pool)
{
    acme_file_t file;
    acme_rv_t rv;

    acme_error_clear(&part->err);
    rv = acme_file_read(&file, part->path, uid, part->max, tighten, secret, pool, &part->err);
    if (rv == ACME_OK) {
        part->data = file.data;
        part->len = file.len;
        part->loosened = file.loosened;
    }
    else if (rv == ACME_AGAIN) {
        part->missing = 1;
    }
    else if (part->err.kind == ACME_E_SECURITY) {
        part->alien = 1;
        read_alien(part, pool);
    }
    else {
        part->hidden = part->err.status == EACCES;
    }
}

/* NULL, or why the two do not make a pair. */
static const char *match(acme_pair_t *out, const part_t *cert, const part_t *key, apr_pool_t *pool)
{
    acme_chain_t *chain;
    acme_key_t *private_key;
    acme_error_t err;

    acme_error_clear(&err);
    if (cert->data == NULL || key->data == NULL) {
        return cert->data == NULL ? cert->err.text : key->err.text;
    }
    if (acme_chain_from_pem(&chain, cert->data, cert->len, pool, &err) != ACME_OK
        || acme_chain_leaf(&out->leaf, chain, pool, &err) != ACME_OK) {
        return apr_psprintf(pool, "%s: %s", cert->path, err.text);
    }
    if (acme_key_from_pem(&private_key, key->data, key->len, pool, &err) != ACME_OK) {
        return apr_psprintf(pool, "%s: %s", key->path, err.text);
    }
    return acme_chain_matches_key(chain, private_key)
           ? NULL : "the key is not the certificate's";
}

static void judge(acme_pair_t *out, const part_t *cert, const part_t *key, apr_pool_t *pool)
{
    const char *why;

    if (cert->missing && key->missing) {
        out->state = ACME_PAIR_NONE;
        return;
    }
    if (cert->missing || key->missing) {
        out->state = ACME_PAIR_HALF;
        out->fault = apr_psprintf(pool, "%s is there, %s is missing; wanted: both or none; remedy: "
                                  "put the missing file back, or wait for the next certificate",
                                  cert->missing ? key->path : cert->path,
                                  cert->missing ? cert->path : key->path);
        return;
    }
    why = match(out, cert, key, pool);
    if (why == NULL) {
        out->state = ACME_PAIR_GOOD;
        return;
    }
    out->state = cert->hidden || key->hidden ? ACME_PAIR_HIDDEN : ACME_PAIR_BROKEN;
    out->fault = apr_psprintf(pool, "%s and %s are not a usable pair: %s; wanted: a chain and its "
                              "unencrypted key, PEM; remedy: put such a pair there, or move both "
                              "away: mv '%s' '%s.bad'; mv '%s' '%s.bad'", cert->path, key->path,
                              why, cert->path, cert->path, key->path, key->path);
}

void acme_pair_read(acme_pair_t *out, const char *cert_path, const char *key_path, uid_t uid,
                    int tighten, apr_pool_t *pool)
{
    part_t part[2];
    int i;

    memset(out, 0, sizeof(*out));
    memset(part, 0, sizeof(part));
    part[0].path = cert_path;
    part[0].max = ACME_CHAIN_MAX_BYTES;
    part[1].path = key_path;
    part[1].max = ACME_KEY_FILE_MAX;
    (void)acme_stamp_get(&out->cert_stamp, cert_path);
    (void)acme_stamp_get(&out->key_stamp, key_path);
    part_read(&part[0], uid, 0, 0, pool);
    part_read(&part[1], uid, tighten, 1, pool);
    if (part[1].loosened != 0 && tighten) {
        (void)acme_stamp_get(&out->key_stamp, key_path); /* it covers the mode */
    }
    for (i = 0; i < 2; i++) {
        if (part[i].alien && out->alien == NULL) {
            out->alien = apr_pstrdup(pool, part[i].err.text);
            apr_cpystrn(out->alien_code, part[i].err.code, sizeof(out->alien_code));
        }
    }
    out->cert = part[0].data;
    out->cert_len = part[0].len;
    out->key = part[1].data;
    out->key_len = part[1].len;
    out->loosened = part[1].loosened;
    judge(out, &part[0], &part[1], pool);
}

static void lacks(acme_known_t *out, const apr_array_header_t *names, const acme_spec_t *spec)
{
    char *end = out->lacks;
    int i;

    for (i = 0; !out->names_ok && i < spec->names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(spec->names, i, const char *);

        if (!acme_names_contain(names, name)) {
            end += apr_snprintf(end, sizeof(out->lacks) - (apr_size_t)(end - out->lacks), "%s%s",
                                end == out->lacks ? "" : ",", name);
        }
    }
}

void acme_pair_known(acme_known_t *out, const acme_pair_t *pair, const acme_spec_t *spec,
                     const char *wanted)
{
    const acme_leaf_t *leaf = &pair->leaf;

    memset(out, 0, sizeof(*out));
    out->cert = pair->cert_stamp;
    out->key = pair->key_stamp;
    apr_cpystrn(out->wanted, wanted, sizeof(out->wanted));
    apr_cpystrn(out->fingerprint, leaf->fingerprint, sizeof(out->fingerprint));
    apr_cpystrn(out->key_digest, leaf->key_digest, sizeof(out->key_digest));
    apr_cpystrn(out->serial, leaf->serial, sizeof(out->serial));
    apr_cpystrn(out->ari_id, leaf->ari_id, sizeof(out->ari_id));
    out->not_before = leaf->not_before;
    out->not_after = leaf->not_after;
    out->names_ok = acme_names_include(leaf->names, spec->names);
    acme_spec_part_digest(out->missing, spec, leaf->names, 1, leaf->names->pool);
    lacks(out, leaf->names, spec);
    out->self_issued = leaf->self_issued;
    out->is_rsa = leaf->key_type_known && acme_key_type_is_rsa(leaf->key_type);
}
