/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "crypto/x509.h"

#include <string.h>

#include <apr_strings.h>
#include <arpa/inet.h>
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "base/codec.h"
#include "base/name.h"
#include "base/time.h"
#include "crypto/digest.h"

#define SKEW_ACCEPTED apr_time_from_sec(600) /* notBefore may lie ahead */
#define PLACEHOLDER_BACKDATED apr_time_from_sec(24 * 3600)
#define PLACEHOLDER_LIFETIME apr_time_from_sec((apr_int64_t)3650 * 24 * 3600)
#define SECURITY_LEVEL 2
#define SERIAL_BITS 127 /* RFC 5280 section 4.1.2.2: positive, at most 20 bytes */
#define COMMON_NAME_MAX 64
#define NAME_TEXT_MAX 4096
#define STATUS_REQUEST 5 /* RFC 7633: the TLS extension that stands for stapling */
#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

struct acme_chain_t {
    int n;
    X509 *x509[ACME_CHAIN_MAX_CERTS];
    unsigned char *der[ACME_CHAIN_MAX_CERTS];
    apr_size_t len[ACME_CHAIN_MAX_CERTS];
};

/* ---- helpers ---- */

/* With OpenSSL's first reason, the most specific one; leaves its queue empty. */
static acme_rv_t fail(acme_error_t *err, acme_error_kind_t kind, const char *code,
                      const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());

    ERR_clear_error();
    return acme_error_set(err, kind, code, "%s%s%s", what, reason ? ": " : "",
                          reason ? reason : "");
}

static acme_rv_t unfit(acme_error_t *err, const char *why)
{
    return fail(err, ACME_E_CERTIFICATE, "AC0505", why);
}

static apr_status_t x509_release(void *data)
{
    X509_free(data);
    return APR_SUCCESS;
}

/* Owns x509, whatever comes of it. */
static acme_rv_t chain_add(acme_chain_t *chain, X509 *x509, apr_pool_t *pool, acme_error_t *err)
{
    unsigned char *bytes = NULL;
    int len;

    if (chain->n == ACME_CHAIN_MAX_CERTS) {
        X509_free(x509);
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0530",
                              "certificate chain: more than %d certificates",
                              ACME_CHAIN_MAX_CERTS);
    }
    apr_pool_cleanup_register(pool, x509, x509_release, apr_pool_cleanup_null);
    len = i2d_X509(x509, &bytes);
    if (len <= 0) {
        return fail(err, ACME_E_CERTIFICATE, "AC0531", "certificate: cannot be encoded");
    }
    chain->x509[chain->n] = x509;
    chain->der[chain->n] = apr_pmemdup(pool, bytes, (apr_size_t)len);
    chain->len[chain->n] = (apr_size_t)len;
    chain->n++;
    OPENSSL_free(bytes);
    return ACME_OK;
}

static acme_rv_t chain_add_der(acme_chain_t *chain, const unsigned char *der, apr_size_t len,
                               apr_pool_t *pool, acme_error_t *err)
{
    const unsigned char *end = der;
    X509 *x509 = NULL;

    if (len <= ACME_CHAIN_MAX_BYTES) {
        x509 = d2i_X509(NULL, &end, (long)len);
    }
    if (!x509 || end != der + len) {
        X509_free(x509);
        return fail(err, ACME_E_CERTIFICATE, "AC0532", "certificate: malformed");
    }
    return chain_add(chain, x509, pool, err);
}

/* ---- PEM ---- */

/* Reads lines; the text is not NUL-terminated. */
typedef struct {
    const char *at, *end;
    const char *line;
    apr_size_t len; /* of the line, without its end and the blanks before that */
} lines_t;

static int lines_next(lines_t *lines)
{
    const char *newline;

    if (lines->at == lines->end) {
        return 0;
    }
    newline = memchr(lines->at, '\n', (apr_size_t)(lines->end - lines->at));
    lines->line = lines->at;
    lines->len = (apr_size_t)((newline ? newline : lines->end) - lines->at);
    lines->at = newline ? newline + 1 : lines->end;
    while (lines->len > 0 && strchr("\r \t", lines->line[lines->len - 1])) {
        lines->len--;
    }
    return 1;
}

static int line_is(const lines_t *lines, const char *text)
{
    return lines->len == strlen(text) && memcmp(lines->line, text, lines->len) == 0;
}

/* Where what stands in text, or NULL. */
static const char *find(const char *text, apr_size_t len, const char *what)
{
    const char *end = text + len;
    apr_size_t n = strlen(what);

    while ((apr_size_t)(end - text) >= n) {
        text = memchr(text, what[0], (apr_size_t)(end - text) - n + 1);
        if (!text || memcmp(text, what, n) == 0) {
            return text;
        }
        text++;
    }
    return NULL;
}

static acme_rv_t pem_refuse(acme_error_t *err, const char *why)
{
    return acme_error_set(err, ACME_E_CERTIFICATE, "AC0501", "certificate chain: %s", why);
}

/* RFC 8555 section 11.4: whoever reads the file later may be less careful, so nothing else may
 * stand in it, wherever. */
static acme_rv_t only_certificates(const char *pem, apr_size_t len, acme_error_t *err)
{
    static const char begin[] = "-----BEGIN", wanted[] = "-----BEGIN CERTIFICATE-----";
    const char *end = pem + len, *at;

    for (at = find(pem, len, begin); at; at = find(at + 1, (apr_size_t)(end - at) - 1, begin)) {
        apr_size_t rest = (apr_size_t)(end - at);

        if (rest >= strlen(wanted) && memcmp(at, wanted, strlen(wanted)) == 0) {
            continue;
        }
        if (find(at, rest < 64 ? rest : 64, "PRIVATE KEY")) {
            return acme_error_set(err, ACME_E_SECURITY, "AC0901",
                                  "certificate chain: it holds a private key");
        }
        return pem_refuse(err, "a PEM block that is no CERTIFICATE");
    }
    return ACME_OK;
}

static int base64_only(const char *text, apr_size_t len)
{
    apr_size_t i, pads = 0;

    while (len > 0 && pads < 2 && text[len - 1] == '=') {
        len--;
        pads++;
    }
    for (i = 0; i < len; i++) {
        char c = text[i];

        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
              || c == '+' || c == '/')) {
            return 0;
        }
    }
    return len > 0 && (len + pads) % 4 == 0;
}

/* The lines behind BEGIN up to END. */
static acme_rv_t chain_add_block(acme_chain_t *chain, lines_t *lines, apr_pool_t *pool,
                                 apr_pool_t *scratch, acme_error_t *err)
{
    char *text = apr_palloc(scratch, (apr_size_t)(lines->end - lines->at) + 1);
    apr_size_t len = 0;
    unsigned char *der;
    int n;

    for (;;) {
        if (!lines_next(lines)) {
            return pem_refuse(err, "a block without end");
        }
        if (line_is(lines, "-----END CERTIFICATE-----")) {
            break;
        }
        memcpy(text + len, lines->line, lines->len);
        len += lines->len;
    }
    if (!base64_only(text, len)) {
        return pem_refuse(err, "a block that is not base64");
    }
    der = apr_palloc(scratch, len / 4 * 3 + 1);
    n = EVP_DecodeBlock(der, (const unsigned char *)text, (int)len);
    n -= (text[len - 1] == '=') + (text[len - 2] == '=');
    if (n <= 0) {
        return pem_refuse(err, "a block that is not base64");
    }
    return chain_add_der(chain, der, (apr_size_t)n, pool, err);
}

static acme_rv_t chain_add_pem(acme_chain_t *chain, const char *pem, apr_size_t len,
                               apr_pool_t *pool, apr_pool_t *scratch, acme_error_t *err)
{
    lines_t lines = { pem, pem + len, NULL, 0 };

    while (lines_next(&lines)) {
        if (line_is(&lines, "-----BEGIN CERTIFICATE-----")) {
            if (chain_add_block(chain, &lines, pool, scratch, err) != ACME_OK) {
                return ACME_FAIL;
            }
        }
        else if (find(lines.line, lines.len, "-----BEGIN")
                 || find(lines.line, lines.len, "-----END")) {
            return pem_refuse(err, "the beginning or end of a block is not a line of its own");
        }
    }
    return chain->n > 0 ? ACME_OK : pem_refuse(err, "no certificate in it");
}

acme_rv_t acme_chain_from_pem(acme_chain_t **out, const char *pem, apr_size_t len,
                              apr_pool_t *pool, acme_error_t *err)
{
    acme_chain_t *chain = apr_pcalloc(pool, sizeof(*chain));
    apr_pool_t *scratch;
    acme_rv_t rv;

    if (len > ACME_CHAIN_MAX_BYTES) {
        return pem_refuse(err, "larger than 256 KB");
    }
    if (memchr(pem, '\0', len)) {
        return pem_refuse(err, "not a text");
    }
    if (only_certificates(pem, len, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (apr_pool_create(&scratch, pool) != APR_SUCCESS) {
        return pem_refuse(err, "out of memory");
    }
    ERR_clear_error();
    rv = chain_add_pem(chain, pem, len, pool, scratch, err);
    ERR_clear_error();
    apr_pool_destroy(scratch);
    if (rv == ACME_OK) {
        *out = chain;
    }
    return rv;
}

const char *acme_chain_to_pem(const acme_chain_t *chain, apr_pool_t *pool)
{
    const char *out = NULL;
    char *text;
    long len;
    BIO *bio;
    int i, ok;

    ERR_clear_error();
    bio = BIO_new(BIO_s_mem());
    ok = bio != NULL;
    for (i = 0; i < chain->n && ok; i++) {
        ok = PEM_write_bio(bio, PEM_STRING_X509, "", chain->der[i], (long)chain->len[i]) > 0;
    }
    if (ok) {
        len = BIO_get_mem_data(bio, &text);
        out = apr_pstrmemdup(pool, text, (apr_size_t)len);
    }
    BIO_free(bio);
    ERR_clear_error();
    return out;
}

/* ---- the certificates of a chain ---- */

int acme_chain_count(const acme_chain_t *chain)
{
    return chain->n;
}

void acme_chain_der(const unsigned char **der, apr_size_t *len, const acme_chain_t *chain, int i)
{
    *der = chain->der[i];
    *len = chain->len[i];
}

acme_rv_t acme_chain_from_der(acme_chain_t **out, const unsigned char *const *ders,
                              const apr_size_t *lens, int n, apr_pool_t *pool, acme_error_t *err)
{
    acme_chain_t *chain = apr_pcalloc(pool, sizeof(*chain));
    int i;

    if (n <= 0) {
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0533", "certificate chain: empty");
    }
    ERR_clear_error();
    for (i = 0; i < n; i++) {
        if (chain_add_der(chain, ders[i], lens[i], pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    ERR_clear_error();
    *out = chain;
    return ACME_OK;
}

void *acme_chain_x509(const acme_chain_t *chain, int i)
{
    return chain->x509[i];
}

static int x509_matches(X509 *x509, const acme_key_t *key)
{
    int same;

    ERR_clear_error();
    same = X509_check_private_key(x509, acme_key_evp(key)) == 1;
    ERR_clear_error();
    return same;
}

int acme_chain_matches_key(const acme_chain_t *chain, const acme_key_t *key)
{
    return x509_matches(chain->x509[0], key);
}

/* ---- facts of the leaf ---- */

static int time_of(apr_time_t *out, const ASN1_TIME *text)
{
    ASN1_TIME *epoch = ASN1_TIME_set(NULL, 0);
    int days = 0, seconds = 0, ok;

    ok = epoch && ASN1_TIME_diff(&days, &seconds, epoch, text) == 1;
    ASN1_TIME_free(epoch);
    *out = apr_time_from_sec((apr_int64_t)days * 24 * 3600 + seconds);
    return ok;
}

static const char *serial_of(const X509 *x509, apr_pool_t *pool)
{
    const ASN1_INTEGER *serial = X509_get0_serialNumber(x509);
    int len = ASN1_STRING_length(serial);
    const char *hex = acme_hex_encode(ASN1_STRING_get0_data(serial), (apr_size_t)len, pool);

    return apr_pstrcat(pool, ASN1_STRING_type(serial) == V_ASN1_NEG_INTEGER ? "-" : "",
                       len == 0 ? "00" : hex, NULL);
}

static const char *printable(const void *text, int len, apr_pool_t *pool)
{
    apr_size_t size = (apr_size_t)(len < NAME_TEXT_MAX ? len : NAME_TEXT_MAX) + 1;

    return acme_printable(apr_palloc(pool, size), size, text, len);
}

static const char *name_text(const X509_NAME *name, apr_pool_t *pool)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const char *out = "";
    char *text;
    long len;

    if (bio && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0) {
        len = BIO_get_mem_data(bio, &text);
        out = printable(text, (int)len, pool);
    }
    BIO_free(bio);
    return out;
}

static const char *common_name_of(X509_NAME *name, apr_pool_t *pool)
{
    int i = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *text = NULL;
    const char *out = "";
    int len;

    if (i < 0) {
        return out;
    }
    len = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, i)));
    if (len >= 0) {
        out = printable(text, len, pool);
        OPENSSL_free(text);
    }
    return out;
}

/* A name in the wrong clothes (an address as dNSName, a final dot, a NUL) is not the name it looks
 * like; no name anybody asks for has a colon behind "DNS". */
static const char *dns_of(const ASN1_STRING *value, apr_pool_t *pool)
{
    char *text = (char *)printable(ASN1_STRING_get0_data(value), ASN1_STRING_length(value), pool);
    acme_name_kind_t kind;
    const char *name;
    char *p;

    for (p = text; *p; p++) {
        *p = (char)acme_ascii_tolower((unsigned char)*p);
    }
    if (acme_name_normalize(&name, &kind, text, pool, NULL) == ACME_OK
        && (kind == ACME_NAME_DNS || kind == ACME_NAME_WILDCARD) && strcmp(name, text) == 0) {
        return name;
    }
    return apr_pstrcat(pool, "DNS:", text, NULL);
}

static const char *address_of(const ASN1_STRING *value, apr_pool_t *pool)
{
    const unsigned char *bytes = ASN1_STRING_get0_data(value);
    int len = ASN1_STRING_length(value);
    char text[INET6_ADDRSTRLEN];
    acme_name_kind_t kind;
    const char *name;

    if ((len == 4 || len == 16)
        && inet_ntop(len == 4 ? AF_INET : AF_INET6, bytes, text, sizeof(text))
        && acme_name_normalize(&name, &kind, text, pool, NULL) == ACME_OK) {
        return name;
    }
    return apr_pstrcat(pool, "IP:", acme_hex_encode(bytes, (apr_size_t)(len < 64 ? len : 64), pool),
                       NULL);
}

static int names_of(apr_array_header_t **out, const X509 *x509, apr_pool_t *pool)
{
    apr_array_header_t *names = apr_array_make(pool, 4, sizeof(const char *));
    int critical = 0, i;
    GENERAL_NAMES *all = X509_get_ext_d2i(x509, NID_subject_alt_name, &critical, NULL);

    *out = names;
    if (!all) {
        return critical == -1; /* there is none */
    }
    for (i = 0; i < sk_GENERAL_NAME_num(all); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(all, i);

        if (name->type == GEN_DNS) {
            APR_ARRAY_PUSH(names, const char *) = dns_of(name->d.dNSName, pool);
        }
        else if (name->type == GEN_IPADD) {
            APR_ARRAY_PUSH(names, const char *) = address_of(name->d.iPAddress, pool);
        }
    }
    GENERAL_NAMES_free(all);
    return 1;
}

static int must_staple(const X509 *x509)
{
    TLS_FEATURE *features = X509_get_ext_d2i(x509, NID_tlsfeature, NULL, NULL);
    int i, found = 0;

    for (i = 0; i < sk_ASN1_INTEGER_num(features); i++) {
        found |= ASN1_INTEGER_get(sk_ASN1_INTEGER_value(features, i)) == STATUS_REQUEST;
    }
    TLS_FEATURE_free(features);
    return found;
}

const char *acme_chain_ari_id(const acme_chain_t *chain, apr_pool_t *pool)
{
    X509 *x509 = chain->x509[0];
    const ASN1_OCTET_STRING *issuer = X509_get0_authority_key_id(x509);
    unsigned char *der = NULL;
    const char *id = "";
    int len;

    ERR_clear_error();
    len = i2d_ASN1_INTEGER(X509_get_serialNumber(x509), &der);
    /* Tag and one byte of length stand before the content: a serial has 20 bytes at most. */
    if (issuer && ASN1_STRING_length(issuer) > 0 && len > 2 && len < 128) {
        id = apr_pstrcat(pool,
                         acme_base64url_encode(ASN1_STRING_get0_data(issuer),
                                               (apr_size_t)ASN1_STRING_length(issuer), pool),
                         ".", acme_base64url_encode(der + 2, (apr_size_t)len - 2, pool), NULL);
    }
    OPENSSL_free(der);
    ERR_clear_error();
    return strlen(id) <= ACME_ARI_ID_MAX ? id : "";
}

const char *acme_chain_top_issuer(const acme_chain_t *chain, apr_pool_t *pool)
{
    const char *name;

    ERR_clear_error();
    name = common_name_of(X509_get_issuer_name(chain->x509[chain->n - 1]), pool);
    ERR_clear_error();
    return name;
}

static const char *spki_digest(const X509 *x509, apr_pool_t *pool)
{
    unsigned char *der = NULL;
    char *hex = apr_palloc(pool, ACME_SHA256_HEX);
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(x509), &der);

    if (len <= 0) {
        return NULL;
    }
    acme_sha256_hex(hex, der, (apr_size_t)len);
    OPENSSL_free(der);
    return hex;
}

static int self_issued(const X509 *x509)
{
    return X509_NAME_cmp(X509_get_subject_name(x509), X509_get_issuer_name(x509)) == 0;
}

acme_rv_t acme_chain_leaf(acme_leaf_t *out, const acme_chain_t *chain, apr_pool_t *pool,
                          acme_error_t *err)
{
    X509 *x509 = chain->x509[0];
    X509_NAME *issuer = X509_get_issuer_name(x509);
    EVP_PKEY *pkey;
    acme_leaf_t leaf;

    memset(&leaf, 0, sizeof(leaf));
    ERR_clear_error();
    if (!time_of(&leaf.not_before, X509_get0_notBefore(x509))
        || !time_of(&leaf.not_after, X509_get0_notAfter(x509))) {
        return fail(err, ACME_E_CERTIFICATE, "AC0534", "certificate: a date is malformed");
    }
    leaf.key_digest = spki_digest(x509, pool);
    if (!names_of(&leaf.names, x509, pool) || !leaf.key_digest) {
        return fail(err, ACME_E_CERTIFICATE, "AC0535",
                    "certificate: its names or its key are malformed");
    }
    leaf.serial = serial_of(x509, pool);
    leaf.issuer = name_text(issuer, pool);
    leaf.issuer_cn = common_name_of(issuer, pool);
    pkey = X509_get0_pubkey(x509);
    leaf.key_type_known = pkey && acme_key_type_evp(&leaf.key_type, pkey) == ACME_OK;
    leaf.is_ca = (X509_get_extension_flags(x509) & EXFLAG_CA) != 0;
    leaf.self_issued = self_issued(x509);
    leaf.must_staple = must_staple(x509);
    leaf.ari_id = acme_chain_ari_id(chain, pool);
    leaf.fingerprint = acme_sha256_hex(apr_palloc(pool, ACME_SHA256_HEX), chain->der[0],
                                       chain->len[0]);
    ERR_clear_error();
    *out = leaf;
    return ACME_OK;
}

/* ---- the check of what came ---- */

/* Byte for byte: a point of a curve can be written in several ways, and records know keys by their
 * digest. */
static int is_ours(X509 *x509, const acme_key_t *key, apr_pool_t *pool)
{
    const char *digest = spki_digest(x509, pool);

    return x509_matches(x509, key) && digest && strcmp(digest, acme_key_digest(key, pool)) == 0;
}

static acme_rv_t check_key(const acme_chain_t *chain, const acme_chain_want_t *want,
                           apr_pool_t *pool, acme_error_t *err)
{
    int i;

    if (is_ours(chain->x509[0], want->key, pool)) {
        return ACME_OK;
    }
    for (i = 1; i < chain->n && !is_ours(chain->x509[i], want->key, pool); i++) {
    }
    return acme_error_set(err, ACME_E_CERTIFICATE, "AC0502",
                          i < chain->n ? "the first certificate is not ours, a later one is"
                                       : "the certificate is for another key than ours");
}

/* "; LABEL a, b" of what is in names and not in others, or "". */
static const char *surplus(const char *label, const apr_array_header_t *names,
                           const apr_array_header_t *others, apr_pool_t *pool)
{
    const char *text = "";
    int i, n = 0;

    for (i = 0; i < names->nelts && n < 5; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);

        if (!acme_names_contain(others, name)) {
            text = apr_pstrcat(pool, text, n == 0 ? label : ", ", name, NULL);
            n++;
        }
    }
    return text;
}

static acme_rv_t check_names(const acme_leaf_t *leaf, const acme_chain_want_t *want,
                             apr_pool_t *pool, acme_error_t *err)
{
    if (acme_names_equal(leaf->names, want->names)) {
        return ACME_OK;
    }
    return acme_error_set(err, ACME_E_CERTIFICATE, "AC0503",
                          "the certificate's names are not those asked for%s%s",
                          surplus("; missing: ", want->names, leaf->names, pool),
                          surplus("; too many: ", leaf->names, want->names, pool));
}

static acme_rv_t check_dates(const acme_leaf_t *leaf, const acme_chain_want_t *want,
                             acme_error_t *err)
{
    char from[ACME_TIME_TEXT], until[ACME_TIME_TEXT], now[ACME_TIME_TEXT];
    const char *why = NULL;

    if (leaf->not_after <= leaf->not_before) {
        why = "it ends before it begins";
    }
    else if (leaf->not_after <= want->now) {
        why = "it has expired";
    }
    else if (leaf->not_before > want->now + SKEW_ACCEPTED && !want->allow_future_not_before) {
        why = "it is not valid yet";
    }
    if (!why) {
        return ACME_OK;
    }
    return acme_error_set(err, ACME_E_CERTIFICATE, "AC0504",
                          "the certificate is valid from %s to %s, now is %s: %s",
                          acme_time_format(from, leaf->not_before),
                          acme_time_format(until, leaf->not_after),
                          acme_time_format(now, want->now), why);
}

static acme_rv_t check_use(const acme_chain_t *chain, const acme_leaf_t *leaf,
                           const acme_chain_want_t *want, acme_error_t *err)
{
    X509 *x509 = chain->x509[0];

    if (!leaf->key_type_known || leaf->key_type != want->key_type) {
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0536",
                              "the certificate's key is not %s",
                              acme_key_type_name(want->key_type));
    }
    if (leaf->is_ca) {
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0537",
                              "the certificate is one of a CA, not of a server");
    }
    /* A key that may not sign is of no use with TLS 1.3. */
    if (X509_check_purpose(x509, X509_PURPOSE_SSL_SERVER, 0) != 1
        || !(X509_get_key_usage(x509) & KU_DIGITAL_SIGNATURE)) {
        return fail(err, ACME_E_CERTIFICATE, "AC0538",
                    "the certificate may not be used by a TLS server");
    }
    if (leaf->must_staple && !want->must_staple) {
        return acme_error_set(err, ACME_E_CERTIFICATE, "AC0525",
                              "the certificate has must-staple, which was not asked for");
    }
    return ACME_OK;
}

/* Behind a root nothing is needed, whatever its name and key may fit. */
static int issued(X509 *issuer, X509 *subject)
{
    EVP_PKEY *pkey = X509_get0_pubkey(issuer);

    return pkey && !self_issued(subject) && X509_check_ca(issuer) > 0
           && X509_check_issued(issuer, subject) == X509_V_OK && X509_verify(subject, pkey) == 1;
}

static int chain_has(const acme_chain_t *chain, const X509 *x509)
{
    int i;

    for (i = 0; i < chain->n && X509_cmp(chain->x509[i], x509) != 0; i++) {
    }
    return i < chain->n;
}

/* The leaf, and whatever issued the certificate before it. */
static acme_rv_t ordered(acme_chain_t **out, int *dropped, const acme_chain_t *chain,
                         apr_pool_t *pool, acme_error_t *err)
{
    acme_chain_t *kept = apr_pcalloc(pool, sizeof(*kept));
    int i;

    for (i = 0; i < chain->n; i++) {
        X509 *x509 = chain->x509[i];

        if (kept->n > 0 && (chain_has(kept, x509) || !issued(x509, kept->x509[kept->n - 1]))) {
            continue;
        }
        if (X509_up_ref(x509) != 1 || chain_add(kept, x509, pool, err) != ACME_OK) {
            return fail(err, ACME_E_INTERNAL, "AC0539", "certificate chain: cannot be copied");
        }
    }
    ERR_clear_error();
    *dropped = chain->n - kept->n;
    *out = kept;
    return ACME_OK;
}

/* Signed with a digest that no client takes: newer OpenSSL leaves that to the client. */
static int signature_is_broken(X509 *x509)
{
    int md = NID_undef;

    return (X509_get_extension_flags(x509) & EXFLAG_SS) == 0
           && X509_get_signature_info(x509, &md, NULL, NULL, NULL) == 1
           && (md == NID_sha1 || md == NID_md5);
}

/* Would mod_ssl serve it? */
static acme_rv_t check_served(const acme_chain_t *chain, const acme_key_t *key, acme_error_t *err)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    acme_rv_t rv = ACME_OK;
    int i;

    if (!ctx) {
        return unfit(err, "OpenSSL cannot begin to check the certificate");
    }
    SSL_CTX_set_security_level(ctx, SECURITY_LEVEL);
    if (signature_is_broken(chain->x509[0]) || SSL_CTX_use_certificate(ctx, chain->x509[0]) != 1
        || SSL_CTX_use_PrivateKey(ctx, acme_key_evp(key)) != 1) {
        rv = unfit(err, "OpenSSL would not serve the certificate");
    }
    for (i = 1; i < chain->n && rv == ACME_OK; i++) {
        if (signature_is_broken(chain->x509[i])
            || SSL_CTX_add1_chain_cert(ctx, chain->x509[i]) != 1) {
            rv = unfit(err, "OpenSSL would not serve the chain");
        }
    }
    SSL_CTX_free(ctx);
    return rv;
}

acme_rv_t acme_chain_check(acme_chain_t **out, int *dropped, const acme_chain_t *chain,
                           const acme_chain_want_t *want, apr_pool_t *pool, acme_error_t *err)
{
    acme_chain_t *kept = NULL;
    acme_leaf_t leaf;

    *dropped = 0;
    ERR_clear_error();
    if (check_key(chain, want, pool, err) != ACME_OK
        || acme_chain_leaf(&leaf, chain, pool, err) != ACME_OK
        || check_names(&leaf, want, pool, err) != ACME_OK
        || check_dates(&leaf, want, err) != ACME_OK
        || check_use(chain, &leaf, want, err) != ACME_OK
        || ordered(&kept, dropped, chain, pool, err) != ACME_OK
        || check_served(kept, want->key, err) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = kept;
    return ACME_OK;
}

/* ---- what we make ourselves ---- */

static const EVP_MD *md_of(const acme_key_t *key)
{
    acme_key_type_t type;

    return acme_key_type(&type, key) == ACME_OK && type == ACME_KEY_P384 ? EVP_sha384()
                                                                         : EVP_sha256();
}

static int is_address(const char *name)
{
    acme_name_kind_t kind = acme_name_kind(name);

    return kind == ACME_NAME_IP4 || kind == ACME_NAME_IP6;
}

static GENERAL_NAME *general_name(const char *name)
{
    int address = is_address(name);
    ASN1_STRING *value = address ? a2i_IPADDRESS(name) : ASN1_IA5STRING_new();
    GENERAL_NAME *out = GENERAL_NAME_new();

    if (!out || !value || (!address && ASN1_STRING_set(value, name, -1) != 1)) {
        ASN1_STRING_free(value);
        GENERAL_NAME_free(out);
        return NULL;
    }
    GENERAL_NAME_set0_value(out, address ? GEN_IPADD : GEN_DNS, value);
    return out;
}

static int add_names(STACK_OF(X509_EXTENSION) **extensions, const apr_array_header_t *names)
{
    GENERAL_NAMES *all = GENERAL_NAMES_new();
    int i, ok = all != NULL && names->nelts > 0;

    for (i = 0; i < names->nelts && ok; i++) {
        GENERAL_NAME *name = general_name(APR_ARRAY_IDX(names, i, const char *));

        ok = name && sk_GENERAL_NAME_push(all, name) > 0;
        if (!ok) {
            GENERAL_NAME_free(name);
        }
    }
    ok = ok && X509V3_add1_i2d(extensions, NID_subject_alt_name, all, 0, X509V3_ADD_DEFAULT) == 1;
    GENERAL_NAMES_free(all);
    return ok;
}

typedef struct {
    const char *oid;
    int critical;
    const unsigned char *value; /* DER */
    int len;
} raw_extension_t;

static int add_raw(STACK_OF(X509_EXTENSION) **extensions, const raw_extension_t *raw)
{
    ASN1_OBJECT *oid = OBJ_txt2obj(raw->oid, 1);
    ASN1_OCTET_STRING *value = ASN1_OCTET_STRING_new();
    X509_EXTENSION *extension = NULL;
    int ok = 0;

    if (oid && value && ASN1_OCTET_STRING_set(value, raw->value, raw->len) == 1) {
        extension = X509_EXTENSION_create_by_OBJ(NULL, oid, raw->critical, value);
        ok = extension && X509v3_add_ext(extensions, extension, -1) != NULL;
    }
    X509_EXTENSION_free(extension);
    ASN1_OCTET_STRING_free(value);
    ASN1_OBJECT_free(oid);
    return ok;
}

static int add_must_staple(STACK_OF(X509_EXTENSION) **extensions)
{
    static const unsigned char features[] = { 0x30, 0x03, 0x02, 0x01, STATUS_REQUEST };
    static const raw_extension_t raw = { "1.3.6.1.5.5.7.1.24", 0, features, sizeof(features) };

    return add_raw(extensions, &raw);
}

static int set_subject(X509_NAME *subject, const acme_csr_t *csr)
{
    const char *common = csr->common_name;
    int fits = common && strlen(common) <= COMMON_NAME_MAX && !is_address(common);
    const struct {
        const char *type, *value;
    } parts[] = {
        { "C", csr->country },
        { "ST", csr->state },
        { "L", csr->locality },
        { "O", csr->organization },
        { "CN", fits ? common : NULL },
    };
    int i, ok = 1;

    for (i = 0; i < COUNT(parts) && ok; i++) {
        if (parts[i].value && *parts[i].value) {
            ok = X509_NAME_add_entry_by_txt(subject, parts[i].type, MBSTRING_UTF8,
                                            (const unsigned char *)parts[i].value, -1, -1, 0);
        }
    }
    return ok;
}

static int csr_sign(X509_REQ *req, const acme_csr_t *csr, const acme_key_t *key)
{
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    int ok = X509_REQ_set_version(req, 0) == 1
             && X509_REQ_set_pubkey(req, acme_key_evp(key)) == 1
             && add_names(&extensions, csr->names)
             && (!csr->must_staple || add_must_staple(&extensions))
             && X509_REQ_add_extensions(req, extensions) == 1
             && X509_REQ_sign(req, acme_key_evp(key), md_of(key)) > 0;

    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return ok;
}

acme_rv_t acme_csr_create(const char **out, const acme_csr_t *csr, const acme_key_t *key,
                          apr_pool_t *pool, acme_error_t *err)
{
    acme_rv_t rv = ACME_OK;
    unsigned char *der = NULL;
    X509_REQ *req;
    int len;

    ERR_clear_error();
    req = X509_REQ_new();
    if (!req || !set_subject(X509_REQ_get_subject_name(req), csr)) {
        rv = fail(err, ACME_E_CONFIG, "AC0540", "certificate request: its subject is not allowed");
        goto out;
    }
    len = csr_sign(req, csr, key) ? i2d_X509_REQ(req, &der) : -1;
    if (len <= 0) {
        rv = fail(err, ACME_E_INTERNAL, "AC0541", "certificate request: cannot be made");
        goto out;
    }
    *out = acme_base64url_encode(der, (apr_size_t)len, pool);
out:
    OPENSSL_free(der);
    X509_REQ_free(req);
    ERR_clear_error();
    return rv;
}

static int set_serial(X509 *x509)
{
    BIGNUM *number = BN_new();
    int ok = number && BN_rand(number, SERIAL_BITS, BN_RAND_TOP_ONE, BN_RAND_BOTTOM_ANY) == 1
             && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(x509)) != NULL;

    BN_free(number);
    return ok;
}

static int set_header(X509 *x509, const acme_self_signed_t *what)
{
    X509_NAME *name = X509_get_subject_name(x509);

    return X509_set_version(x509, 2) == 1 && set_serial(x509)
           && X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                         (const unsigned char *)what->common_name, -1, -1, 0) == 1
           && X509_set_issuer_name(x509, name) == 1
           && ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)apr_time_sec(what->not_before))
           && ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)apr_time_sec(what->not_after));
}

static int set_extensions(X509 *x509, const acme_self_signed_t *what)
{
    static const unsigned char not_a_ca[] = { 0x30, 0x00 };
    static const unsigned char server_auth[] = { 0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06,
                                                 0x01, 0x05, 0x05, 0x07, 0x03, 0x01 };
    unsigned char identifier[2 + ACME_SHA256_LEN] = { 0x04, ACME_SHA256_LEN };
    const raw_extension_t raw[] = {
        { "2.5.29.19", 1, not_a_ca, sizeof(not_a_ca) },
        { "2.5.29.37", 0, server_auth, sizeof(server_auth) },
        { "1.3.6.1.5.5.7.1.31", 1, identifier, sizeof(identifier) },
    };
    int n = what->acme_identifier ? COUNT(raw) : COUNT(raw) - 1;
    STACK_OF(X509_EXTENSION) *extensions = NULL;
    int i, ok = add_names(&extensions, what->names);

    if (what->acme_identifier) {
        memcpy(identifier + 2, what->acme_identifier, ACME_SHA256_LEN);
    }
    for (i = 0; i < n && ok; i++) {
        ok = add_raw(&extensions, &raw[i]);
    }
    for (i = 0; i < sk_X509_EXTENSION_num(extensions) && ok; i++) {
        ok = X509_add_ext(x509, sk_X509_EXTENSION_value(extensions, i), -1) == 1;
    }
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    return ok;
}

acme_rv_t acme_self_signed_create(acme_chain_t **out, const acme_self_signed_t *what,
                                  const acme_key_t *key, apr_pool_t *pool, acme_error_t *err)
{
    acme_chain_t *chain = apr_pcalloc(pool, sizeof(*chain));
    X509 *x509;

    ERR_clear_error();
    x509 = X509_new();
    if (!x509 || !set_header(x509, what) || !set_extensions(x509, what)
        || X509_set_pubkey(x509, acme_key_evp(key)) != 1
        || X509_sign(x509, acme_key_evp(key), md_of(key)) <= 0) {
        X509_free(x509);
        return fail(err, ACME_E_INTERNAL, "AC0542", "self-signed certificate: cannot be made");
    }
    ERR_clear_error();
    if (chain_add(chain, x509, pool, err) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = chain;
    return ACME_OK;
}

acme_rv_t acme_placeholder_create(acme_chain_t **out, const apr_array_header_t *names,
                                  const acme_key_t *key, apr_time_t now, apr_pool_t *pool,
                                  acme_error_t *err)
{
    acme_self_signed_t what;

    memset(&what, 0, sizeof(what));
    what.common_name = "mod_acmeclient placeholder";
    what.names = names;
    what.not_before = now - PLACEHOLDER_BACKDATED;
    what.not_after = what.not_before + PLACEHOLDER_LIFETIME;
    return acme_self_signed_create(out, &what, key, pool, err);
}
