/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* What a CA, or whoever sits in its place, sends as a certificate chain. Whatever is taken must be
 * written as certificates alone, read back the same, and stand all questions; what the check lets
 * through must be what was asked for. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>

#include "base/name.h"
#include "crypto/x509.h"

#define BEGIN "-----BEGIN "
#define NOW apr_time_from_sec(1795557600) /* 2026-11-24T22:00:00Z, when the seeds were new */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of the seeds' leaf, so that the check can get to its end. */
static const char leaf_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgOb/MEtfMFqkYXGzf\n"
    "OGtG7lmTY4hqJXdhEeZGIZaGegOhRANCAAQodC1BVp0iqpcblWFJWK7VXyB+I20x\n"
    "sbVMr6qz/lMztVj9EPe5ps+MR/Q44xlQiEUhemybopgYx4KDP7PpIpra\n"
    "-----END PRIVATE KEY-----\n";

static apr_pool_t *parent;
static acme_key_t *key;

static void must(int holds)
{
    if (!holds) {
        abort();
    }
}

static void only_certificates(const char *pem, int n)
{
    const char *at;
    int blocks = 0;

    for (at = strstr(pem, BEGIN); at; at = strstr(at + 1, BEGIN)) {
        must(strncmp(at, BEGIN "CERTIFICATE-----\n", 28) == 0);
        must(at == pem || at[-1] == '\n');
        blocks++;
    }
    must(blocks == n && strncmp(pem, BEGIN, 11) == 0 && pem[strlen(pem) - 1] == '\n');
}

static void same_again(const acme_chain_t *chain, apr_pool_t *pool)
{
    const unsigned char *der[ACME_CHAIN_MAX_CERTS];
    apr_size_t len[ACME_CHAIN_MAX_CERTS];
    const char *pem = acme_chain_to_pem(chain, pool);
    acme_chain_t *again;
    int i, n = acme_chain_count(chain);

    must(pem != NULL && n > 0 && n <= ACME_CHAIN_MAX_CERTS);
    only_certificates(pem, n);
    for (i = 0; i < n; i++) {
        acme_chain_der(&der[i], &len[i], chain, i);
    }
    must(acme_chain_from_der(&again, der, len, n, pool, NULL) == ACME_OK);
    must(strcmp(acme_chain_to_pem(again, pool), pem) == 0);
    if (strlen(pem) <= ACME_CHAIN_MAX_BYTES) {
        must(acme_chain_from_pem(&again, pem, strlen(pem), pool, NULL) == ACME_OK);
        must(strcmp(acme_chain_to_pem(again, pool), pem) == 0);
    }
}

/* Asked for are the leaf's own names, so that the other rules get their turn; then another name. */
static void checked(const acme_chain_t *chain, const acme_leaf_t *leaf, apr_pool_t *pool)
{
    apr_array_header_t *others = apr_array_make(pool, 1, sizeof(const char *));
    acme_chain_want_t want;
    acme_chain_t *used;
    acme_leaf_t facts;
    int dropped;

    memset(&want, 0, sizeof(want));
    want.names = leaf->names;
    want.key = key;
    want.key_type = ACME_KEY_P256;
    want.now = NOW;
    if (acme_chain_check(&used, &dropped, chain, &want, pool, NULL) != ACME_OK) {
        return;
    }
    must(acme_chain_matches_key(used, key));
    must(acme_chain_count(used) + dropped == acme_chain_count(chain) && dropped >= 0);
    must(acme_chain_leaf(&facts, used, pool, NULL) == ACME_OK);
    must(strcmp(facts.fingerprint, leaf->fingerprint) == 0);
    must(!facts.is_ca && facts.not_after > NOW && facts.not_before < facts.not_after);
    must(facts.key_type_known && facts.key_type == ACME_KEY_P256);
    must(strcmp(facts.key_digest, acme_key_digest(key, pool)) == 0);
    same_again(used, pool);
    APR_ARRAY_PUSH(others, const char *) = "example.com";
    want.names = others;
    must(acme_names_equal(others, leaf->names)
         || acme_chain_check(&used, &dropped, chain, &want, pool, NULL) != ACME_OK);
}

static void look_at(const acme_chain_t *chain, apr_pool_t *pool)
{
    acme_leaf_t leaf;
    acme_error_t err;
    int i;

    same_again(chain, pool);
    acme_error_clear(&err);
    if (acme_chain_leaf(&leaf, chain, pool, &err) != ACME_OK) {
        must(err.kind == ACME_E_CERTIFICATE && err.text[0]);
        return;
    }
    must(strlen(leaf.fingerprint) == 64 && strlen(leaf.key_digest) == 64 && *leaf.serial);
    for (i = 0; i < leaf.names->nelts; i++) {
        must(strlen(APR_ARRAY_IDX(leaf.names, i, const char *)) > 0);
    }
    checked(chain, &leaf, pool);
}

/* Nothing that the key holds may look like a leak. */
static void release(void)
{
    apr_pool_destroy(parent);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    apr_pool_t *pool;
    acme_chain_t *chain;
    acme_error_t err;

    if (!parent) {
        apr_initialize();
        apr_pool_create(&parent, NULL);
        atexit(release);
        must(acme_key_from_pem(&key, leaf_key, strlen(leaf_key), parent, NULL) == ACME_OK);
    }
    apr_pool_create(&pool, parent);
    acme_error_clear(&err);
    if (acme_chain_from_pem(&chain, (const char *)data, size, pool, &err) == ACME_OK) {
        look_at(chain, pool);
    }
    else {
        must((err.kind == ACME_E_CERTIFICATE || err.kind == ACME_E_SECURITY) && err.text[0]);
    }
    apr_pool_destroy(pool);
    return 0;
}
