/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "crypto/key.h"

#include <string.h>

#include <apr_strings.h>
#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/objects.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/param_build.h>
#endif

#include "base/codec.h"
#include "crypto/digest.h"

#define TEXT_MAX (64 * 1024) /* a private key as PEM or JWK; RSA-4096 needs 3.3 KB */
#define RSA_BITS_MAX 8192    /* what we do not use, but may find: loading proves a key by signing */
#define E_BYTES_MAX 8
#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

struct acme_key_t {
    EVP_PKEY *pkey;
    acme_key_type_t type;
    int type_known;
    char digest[ACME_SHA256_HEX];
};

static const struct {
    const char *name, *file;
    const char *alg; /* JWS */
    int nid;         /* curve; 0: RSA */
    int size;        /* RSA: bits; EC: bytes of a coordinate */
    const char *crv; /* JWK, and the curve's name in OpenSSL 3 */
} types[ACME_KEY_TYPES] = {
    [ACME_KEY_P256] = { "P-256", "p256", "ES256", NID_X9_62_prime256v1, 32, "P-256" },
    [ACME_KEY_P384] = { "P-384", "p384", "ES384", NID_secp384r1, 48, "P-384" },
    [ACME_KEY_RSA2048] = { "RSA-2048", "rsa2048", "RS256", 0, 2048, NULL },
    [ACME_KEY_RSA3072] = { "RSA-3072", "rsa3072", "RS256", 0, 3072, NULL },
    [ACME_KEY_RSA4096] = { "RSA-4096", "rsa4096", "RS256", 0, 4096, NULL },
};

/* The numbers a key consists of, in the order of their JWK names. */
enum { EC_D, EC_X, EC_Y, EC_NUMBERS };
enum { RSA_D, RSA_DP, RSA_DQ, RSA_E, RSA_N, RSA_P, RSA_Q, RSA_QI, RSA_NUMBERS };

#if OPENSSL_VERSION_NUMBER >= 0x30000000L
#define PARAM(name) OSSL_PKEY_PARAM_##name
#else
#define PARAM(name) NULL
#endif

typedef struct {
    const char *member; /* JWK */
    const char *param;  /* OpenSSL 3 */
    int secret;
} number_t;

static const number_t ec_numbers[EC_NUMBERS] = {
    [EC_D] = { "d", PARAM(PRIV_KEY), 1 },
    [EC_X] = { "x", PARAM(EC_PUB_X), 0 },
    [EC_Y] = { "y", PARAM(EC_PUB_Y), 0 },
};

static const number_t rsa_numbers[RSA_NUMBERS] = {
    [RSA_D] = { "d", PARAM(RSA_D), 1 },
    [RSA_DP] = { "dp", PARAM(RSA_EXPONENT1), 1 },
    [RSA_DQ] = { "dq", PARAM(RSA_EXPONENT2), 1 },
    [RSA_E] = { "e", PARAM(RSA_E), 0 },
    [RSA_N] = { "n", PARAM(RSA_N), 0 },
    [RSA_P] = { "p", PARAM(RSA_FACTOR1), 1 },
    [RSA_Q] = { "q", PARAM(RSA_FACTOR2), 1 },
    [RSA_QI] = { "qi", PARAM(RSA_COEFFICIENT1), 1 },
};

/* ---- types ---- */

const char *acme_key_type_name(acme_key_type_t type)
{
    return types[type].name;
}

const char *acme_key_type_file(acme_key_type_t type)
{
    return types[type].file;
}

int acme_key_type_is_rsa(acme_key_type_t type)
{
    return types[type].nid == 0;
}

acme_rv_t acme_key_type_parse(acme_key_type_t *out, const char *text)
{
    int i;

    for (i = 0; i < ACME_KEY_TYPES; i++) {
        if (acme_ascii_casecmp(text, types[i].name) == 0) {
            *out = (acme_key_type_t)i;
            return ACME_OK;
        }
    }
    return ACME_FAIL;
}

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

/* A copy with a NUL behind it. */
static void *secret_copy(const void *data, apr_size_t len, apr_pool_t *pool)
{
    void *copy = apr_pstrmemdup(pool, data, len);

    acme_cleanse_with(pool, copy, len);
    return copy;
}

static void numbers_free(BIGNUM **numbers, int n)
{
    int i;

    for (i = 0; i < n; i++) {
        BN_clear_free(numbers[i]);
        numbers[i] = NULL;
    }
}

/* ---- where the versions of OpenSSL differ ---- */

#if OPENSSL_VERSION_NUMBER >= 0x30000000L

/* The named curve, or NID_undef. */
static int curve_of(const EVP_PKEY *pkey)
{
    char name[64];
    size_t len;
    int is_explicit = 0, nid;

    if (EVP_PKEY_get_int_param(pkey, OSSL_PKEY_PARAM_EC_DECODED_FROM_EXPLICIT_PARAMS,
                               &is_explicit) == 1 && is_explicit) {
        return NID_undef;
    }
    if (EVP_PKEY_get_group_name(pkey, name, sizeof(name), &len) != 1) {
        return NID_undef;
    }
    nid = OBJ_sn2nid(name);
    return nid != NID_undef ? nid : EC_curve_nist2nid(name);
}

/* A copy for the caller, or NULL. */
static BIGNUM *number_of(const EVP_PKEY *pkey, int is_rsa, int i)
{
    BIGNUM *number = NULL;
    const char *param = is_rsa ? rsa_numbers[i].param : ec_numbers[i].param;

    return EVP_PKEY_get_bn_param(pkey, param, &number) == 1 ? number : NULL;
}

static int push_ec(OSSL_PARAM_BLD *build, acme_key_type_t type, BIGNUM *const *numbers,
                   unsigned char *point)
{
    int size = types[type].size;

    point[0] = POINT_CONVERSION_UNCOMPRESSED;
    return BN_bn2binpad(numbers[EC_X], point + 1, size) == size
           && BN_bn2binpad(numbers[EC_Y], point + 1 + size, size) == size
           && OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, types[type].crv, 0)
           && OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point,
                                               (size_t)(1 + 2 * size))
           && OSSL_PARAM_BLD_push_BN_pad(build, OSSL_PKEY_PARAM_PRIV_KEY, numbers[EC_D],
                                         (size_t)size);
}

static int push_rsa(OSSL_PARAM_BLD *build, BIGNUM *const *numbers)
{
    int i, ok = 1;

    for (i = 0; i < RSA_NUMBERS && ok; i++) {
        ok = OSSL_PARAM_BLD_push_BN(build, rsa_numbers[i].param, numbers[i]);
    }
    return ok;
}

/* From all numbers of a key. */
static EVP_PKEY *pkey_build(acme_key_type_t type, BIGNUM *const *numbers)
{
    int is_rsa = acme_key_type_is_rsa(type);
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(is_rsa ? EVP_PKEY_RSA : EVP_PKEY_EC, NULL);
    unsigned char point[1 + 2 * 48];
    OSSL_PARAM *params = NULL;
    EVP_PKEY *pkey = NULL;

    if (!build || !ctx
        || !(is_rsa ? push_rsa(build, numbers) : push_ec(build, type, numbers, point))) {
        goto out;
    }
    params = OSSL_PARAM_BLD_to_param(build);
    if (!params || EVP_PKEY_fromdata_init(ctx) != 1
        || EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1) {
        pkey = NULL;
    }
out:
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(ctx);
    return pkey;
}

#else

static int curve_of(EVP_PKEY *pkey)
{
    const EC_KEY *ec = EVP_PKEY_get0_EC_KEY(pkey);
    const EC_GROUP *group = ec ? EC_KEY_get0_group(ec) : NULL;

    if (!group || !(EC_GROUP_get_asn1_flag(group) & OPENSSL_EC_NAMED_CURVE)) {
        return NID_undef;
    }
    return EC_GROUP_get_curve_name(group);
}

static BIGNUM *ec_number_of(EVP_PKEY *pkey, int i)
{
    const EC_KEY *ec = EVP_PKEY_get0_EC_KEY(pkey);
    BIGNUM *x, *y;

    if (i == EC_D) {
        return ec ? BN_dup(EC_KEY_get0_private_key(ec)) : NULL;
    }
    x = BN_new();
    y = BN_new();
    if (!ec || !x || !y
        || EC_POINT_get_affine_coordinates(EC_KEY_get0_group(ec), EC_KEY_get0_public_key(ec), x, y,
                                           NULL) != 1) {
        BN_free(x);
        BN_free(y);
        return NULL;
    }
    BN_free(i == EC_X ? y : x);
    return i == EC_X ? x : y;
}

static BIGNUM *number_of(EVP_PKEY *pkey, int is_rsa, int i)
{
    const RSA *rsa = is_rsa ? EVP_PKEY_get0_RSA(pkey) : NULL;
    const BIGNUM *numbers[RSA_NUMBERS] = { NULL };

    if (!is_rsa) {
        return ec_number_of(pkey, i);
    }
    if (rsa) {
        RSA_get0_key(rsa, &numbers[RSA_N], &numbers[RSA_E], &numbers[RSA_D]);
        RSA_get0_factors(rsa, &numbers[RSA_P], &numbers[RSA_Q]);
        RSA_get0_crt_params(rsa, &numbers[RSA_DP], &numbers[RSA_DQ], &numbers[RSA_QI]);
    }
    return numbers[i] ? BN_dup(numbers[i]) : NULL;
}

static EVP_PKEY *build_ec(acme_key_type_t type, BIGNUM *const *numbers)
{
    EC_KEY *ec = EC_KEY_new_by_curve_name(types[type].nid);
    EVP_PKEY *pkey = EVP_PKEY_new();

    if (ec && pkey
        && EC_KEY_set_public_key_affine_coordinates(ec, numbers[EC_X], numbers[EC_Y]) == 1
        && EC_KEY_set_private_key(ec, numbers[EC_D]) == 1
        && EVP_PKEY_assign_EC_KEY(pkey, ec) == 1) {
        return pkey;
    }
    EC_KEY_free(ec);
    EVP_PKEY_free(pkey);
    return NULL;
}

static EVP_PKEY *build_rsa(BIGNUM *const *numbers)
{
    BIGNUM *own[RSA_NUMBERS] = { NULL };
    RSA *rsa = RSA_new();
    EVP_PKEY *pkey = EVP_PKEY_new();
    int i, ok = rsa && pkey;

    for (i = 0; i < RSA_NUMBERS && ok; i++) {
        own[i] = BN_dup(numbers[i]);
        ok = own[i] != NULL;
    }
    if (ok && RSA_set0_key(rsa, own[RSA_N], own[RSA_E], own[RSA_D]) == 1) {
        own[RSA_N] = own[RSA_E] = own[RSA_D] = NULL;
    }
    if (ok && RSA_set0_factors(rsa, own[RSA_P], own[RSA_Q]) == 1) {
        own[RSA_P] = own[RSA_Q] = NULL;
    }
    if (ok && RSA_set0_crt_params(rsa, own[RSA_DP], own[RSA_DQ], own[RSA_QI]) == 1) {
        own[RSA_DP] = own[RSA_DQ] = own[RSA_QI] = NULL;
    }
    for (i = 0; i < RSA_NUMBERS; i++) {
        ok = ok && own[i] == NULL;
    }
    numbers_free(own, RSA_NUMBERS);
    if (ok && EVP_PKEY_assign_RSA(pkey, rsa) == 1) {
        return pkey;
    }
    RSA_free(rsa);
    EVP_PKEY_free(pkey);
    return NULL;
}

static EVP_PKEY *pkey_build(acme_key_type_t type, BIGNUM *const *numbers)
{
    return acme_key_type_is_rsa(type) ? build_rsa(numbers) : build_ec(type, numbers);
}

#endif

/* ---- from an EVP_PKEY to a key ---- */

acme_rv_t acme_key_type_evp(acme_key_type_t *out, void *evp)
{
    int base = EVP_PKEY_base_id(evp);
    int bits = EVP_PKEY_bits(evp);
    int nid = base == EVP_PKEY_EC ? curve_of(evp) : NID_undef;
    int i;

    ERR_clear_error();
    for (i = ACME_KEY_TYPES - 1; i >= 0; i--) {
        int fits = acme_key_type_is_rsa((acme_key_type_t)i)
                       ? base == EVP_PKEY_RSA && bits >= types[i].size
                       : base == EVP_PKEY_EC && nid == types[i].nid;

        if (fits && !(base == EVP_PKEY_RSA && bits > types[ACME_KEY_RSA4096].size)) {
            *out = (acme_key_type_t)i;
            return ACME_OK;
        }
    }
    return ACME_FAIL;
}

static apr_status_t key_release(void *data)
{
    EVP_PKEY_free(data);
    return APR_SUCCESS;
}

static const EVP_MD *md_of(const acme_key_t *key)
{
    return key->type_known && key->type == ACME_KEY_P384 ? EVP_sha384() : EVP_sha256();
}

/* DER for EC. */
static int sign(unsigned char **sig, size_t *sig_len, const acme_key_t *key, const void *input,
                apr_size_t len, apr_pool_t *pool)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int ok;

    *sig_len = (size_t)EVP_PKEY_size(key->pkey);
    *sig = apr_palloc(pool, *sig_len);
    ok = ctx && EVP_DigestSignInit(ctx, NULL, md_of(key), NULL, key->pkey) == 1
         && EVP_DigestSign(ctx, *sig, sig_len, input, len) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* Do the private and the public half belong together? OpenSSL does not ask when it loads a key. */
static int proved(const acme_key_t *key, apr_pool_t *pool)
{
    static const char text[] = "proof of possession";
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char *sig;
    size_t len;
    int ok;

    ok = ctx && sign(&sig, &len, key, text, sizeof(text), pool)
         && EVP_DigestVerifyInit(ctx, NULL, md_of(key), NULL, key->pkey) == 1
         && EVP_DigestVerify(ctx, sig, len, (const unsigned char *)text, sizeof(text)) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

static int digest_set(acme_key_t *key)
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key->pkey, &der);

    if (len > 0) {
        acme_sha256_hex(key->digest, der, (apr_size_t)len);
    }
    OPENSSL_free(der);
    return len > 0;
}

/* Owns pkey, whatever comes of it; NULL: OpenSSL has just failed. */
static acme_rv_t key_wrap(acme_key_t **out, EVP_PKEY *pkey, apr_pool_t *pool, acme_error_t *err)
{
    acme_key_t *key = apr_pcalloc(pool, sizeof(*key));
    int base = pkey ? EVP_PKEY_base_id(pkey) : EVP_PKEY_NONE;

    if (!pkey) {
        return fail(err, ACME_E_STORE, "AC0510", "private key: cannot be read");
    }
    apr_pool_cleanup_register(pool, pkey, key_release, apr_pool_cleanup_null);
    key->pkey = pkey;
    if ((base != EVP_PKEY_RSA && base != EVP_PKEY_EC) || EVP_PKEY_bits(pkey) > RSA_BITS_MAX) {
        return acme_error_set(err, ACME_E_STORE, "AC0511",
                              "private key: neither EC nor RSA of a usual size");
    }
    key->type_known = acme_key_type_evp(&key->type, pkey) == ACME_OK;
    if (!digest_set(key) || !proved(key, pool)) {
        return fail(err, ACME_E_STORE, "AC0512",
                    "private key: its private and its public part do not belong together");
    }
    ERR_clear_error();
    *out = key;
    return ACME_OK;
}

typedef struct {
    int (*stopped)(void *baton);
    void *baton;
    int given_up;
} patience_t;

static int go_on(EVP_PKEY_CTX *ctx)
{
    patience_t *patience = EVP_PKEY_CTX_get_app_data(ctx);

    patience->given_up = patience->given_up || patience->stopped(patience->baton);
    return !patience->given_up;
}

acme_rv_t acme_key_generate(acme_key_t **out, acme_key_type_t type, apr_pool_t *pool,
                            acme_error_t *err)
{
    return acme_key_generate_unless(out, type, NULL, NULL, pool, err);
}

acme_rv_t acme_key_generate_unless(acme_key_t **out, acme_key_type_t type,
                                   int (*stopped)(void *baton), void *baton, apr_pool_t *pool,
                                   acme_error_t *err)
{
    patience_t patience = {stopped, baton, 0};
    int is_rsa = acme_key_type_is_rsa(type);
    EVP_PKEY_CTX *ctx;
    EVP_PKEY *pkey = NULL;
    int ok;

    ERR_clear_error();
    ctx = EVP_PKEY_CTX_new_id(is_rsa ? EVP_PKEY_RSA : EVP_PKEY_EC, NULL);
    ok = ctx && EVP_PKEY_keygen_init(ctx) == 1;
    if (ok && is_rsa) {
        ok = EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, types[type].size) == 1;
    }
    else if (ok) {
        ok = EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, types[type].nid) == 1
             && EVP_PKEY_CTX_set_ec_param_enc(ctx, OPENSSL_EC_NAMED_CURVE) == 1;
    }
    if (ok && stopped) {
        EVP_PKEY_CTX_set_app_data(ctx, &patience);
        EVP_PKEY_CTX_set_cb(ctx, go_on);
    }
    ok = ok && EVP_PKEY_keygen(ctx, &pkey) == 1;
    EVP_PKEY_CTX_free(ctx);
    if (!ok && patience.given_up) {
        ERR_clear_error();
        return acme_error_set(err, ACME_E_STOPPED, "AC0518", "asked to stop");
    }
    if (!ok) {
        return fail(err, ACME_E_SYSTEM, "AC0509", "private key: cannot be generated");
    }
    return key_wrap(out, pkey, pool, err);
}

acme_rv_t acme_key_type(acme_key_type_t *out, const acme_key_t *key)
{
    if (!key->type_known) {
        return ACME_FAIL;
    }
    *out = key->type;
    return ACME_OK;
}

const char *acme_key_digest(const acme_key_t *key, apr_pool_t *pool)
{
    return apr_pstrdup(pool, key->digest);
}

void *acme_key_evp(const acme_key_t *key)
{
    return key->pkey;
}

/* ---- PEM and DER ---- */

const char *acme_key_to_pem(const acme_key_t *key, apr_pool_t *pool)
{
    BIO *bio;
    const char *out = NULL;
    char *text;
    long len;

    ERR_clear_error();
    bio = BIO_new(BIO_s_mem());
    if (bio && PEM_write_bio_PKCS8PrivateKey(bio, key->pkey, NULL, NULL, 0, NULL, NULL) == 1) {
        len = BIO_get_mem_data(bio, &text);
        out = secret_copy(text, (apr_size_t)len, pool);
    }
    BIO_free(bio);
    ERR_clear_error();
    return out;
}

static const char *find(const char *text, const char *end, const char *what)
{
    apr_size_t len = strlen(what);

    for (; text && (apr_size_t)(end - text) >= len; text++) {
        text = memchr(text, what[0], (apr_size_t)(end - text) - len + 1);
        if (!text || memcmp(text, what, len) == 0) {
            return text;
        }
    }
    return NULL;
}

static int starts(const char *text, const char *end, const char *what)
{
    return (apr_size_t)(end - text) >= strlen(what) && memcmp(text, what, strlen(what)) == 0;
}

/* What a file with a key may hold besides text; 1: the key itself. */
static int block_kind(const char *label, const char *end)
{
    static const struct {
        const char *label;
        int is_key;
    } known[] = {
        { "PRIVATE KEY-----", 1 },
        { "EC PRIVATE KEY-----", 1 },
        { "RSA PRIVATE KEY-----", 1 },
        { "EC PARAMETERS-----", 0 },
    };
    int i;

    for (i = 0; i < COUNT(known); i++) {
        if (starts(label, end, known[i].label)) {
            return known[i].is_key;
        }
    }
    return -1;
}

/* Where the one key begins, or NULL and why not. */
static const char *key_block(const char *pem, apr_size_t len, const char **why)
{
    static const char begin[] = "-----BEGIN ";
    const char *end = pem + len, *key = NULL, *at;

    if (len > TEXT_MAX || memchr(pem, '\0', len)) {
        *why = "too long, or not a text";
        return NULL;
    }
    if (find(pem, end, "ENCRYPTED")) {
        *why = "encrypted with a passphrase";
        return NULL;
    }
    for (at = find(pem, end, begin); at; at = find(at + 1, end, begin)) {
        int kind = block_kind(at + strlen(begin), end);

        if (kind < 0 || (kind == 1 && key)) {
            *why = kind < 0 ? "there is something else beside it" : "there is more than one";
            return NULL;
        }
        key = kind == 1 ? at : key;
    }
    *why = "no PEM block of a private key";
    return key;
}

/* Instead of OpenSSL's own, which asks at the terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *data)
{
    (void)buffer;
    (void)size;
    (void)writing;
    (void)data;
    return -1;
}

/* What decodes a PrivateKeyInfo. OpenSSL 3 tries every decoder it has unless it is told which: that
 * takes four times as long as the rest (0.4 ms, 0.1 ms - measured), and root does it for each. */
static EVP_PKEY *pkcs8_decode(const PKCS8_PRIV_KEY_INFO *info, const unsigned char *der,
                              apr_size_t len)
{
#if OPENSSL_VERSION_NUMBER >= 0x30000000L
    const ASN1_OBJECT *algorithm = NULL;
    EVP_PKEY *pkey = NULL;

    if (PKCS8_pkey_get0(&algorithm, NULL, NULL, NULL, info)) {
        int nid = OBJ_obj2nid(algorithm);
        const char *type = nid == NID_X9_62_id_ecPublicKey ? "EC"
                           : nid == NID_rsaEncryption      ? "RSA"
                                                           : NULL;
        OSSL_DECODER_CTX *decoder =
            type ? OSSL_DECODER_CTX_new_for_pkey(&pkey, "DER", "PrivateKeyInfo", type,
                                                 EVP_PKEY_KEYPAIR, NULL, NULL)
                 : NULL;

        if (decoder) {
            OSSL_DECODER_from_data(decoder, &der, &len);
            OSSL_DECODER_CTX_free(decoder);
            return pkey;
        }
    }
#else
    (void)der;
    (void)len;
#endif
    return EVP_PKCS82PKEY(info);
}

/* NULL: it is not one, or has more after it. */
static EVP_PKEY *pkcs8_from_der(const unsigned char *der, apr_size_t len)
{
    const unsigned char *end = der;
    PKCS8_PRIV_KEY_INFO *info = NULL;
    EVP_PKEY *pkey = NULL;

    if (len <= TEXT_MAX) {
        info = d2i_PKCS8_PRIV_KEY_INFO(NULL, &end, (long)len);
    }
    if (info && end == der + len) {
        pkey = pkcs8_decode(info, der, len);
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    return pkey;
}

static EVP_PKEY *pkcs8_from_pem(BIO *bio)
{
    char *name = NULL, *header = NULL;
    unsigned char *der = NULL;
    long len = 0;
    EVP_PKEY *pkey = NULL;

    if (PEM_read_bio(bio, &name, &header, &der, &len)) {
        pkey = pkcs8_from_der(der, (apr_size_t)len);
    }
    OPENSSL_free(name);
    OPENSSL_free(header);
    OPENSSL_clear_free(der, (size_t)len);
    return pkey;
}

acme_rv_t acme_key_from_pem(acme_key_t **out, const char *pem, apr_size_t len, apr_pool_t *pool,
                            acme_error_t *err)
{
    const char *why = NULL;
    const char *block = key_block(pem, len, &why);
    EVP_PKEY *pkey = NULL;
    BIO *bio;

    if (!block) {
        return acme_error_set(err, ACME_E_STORE, "AC0513", "private key: %s", why);
    }
    ERR_clear_error();
    bio = BIO_new_mem_buf(block, (int)(pem + len - block));
    if (bio) {
        pkey = starts(block, pem + len, "-----BEGIN PRIVATE KEY-----")
                   ? pkcs8_from_pem(bio)
                   : PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    }
    BIO_free(bio);
    return key_wrap(out, pkey, pool, err);
}

typedef struct {
    const void *data;
    apr_size_t len;
} passphrase_t;

static int given_passphrase(char *buffer, int size, int writing, void *data)
{
    const passphrase_t *passphrase = data;

    (void)writing;
    if (passphrase->len == 0 || passphrase->len > (apr_size_t)size) {
        return -1;
    }
    memcpy(buffer, passphrase->data, passphrase->len);
    return (int)passphrase->len;
}

acme_rv_t acme_key_from_encrypted_pem(acme_key_t **out, const char *pem, apr_size_t len,
                                      const void *passphrase, apr_size_t passphrase_len,
                                      apr_pool_t *pool, acme_error_t *err)
{
    static const char encrypted[] = "-----BEGIN ENCRYPTED PRIVATE KEY-----";
    const char *end = pem + len;
    const char *at = find(pem, end, "-----BEGIN ");
    passphrase_t given = {passphrase, passphrase_len};
    EVP_PKEY *pkey = NULL;
    BIO *bio;

    if (len > TEXT_MAX || !at || !starts(at, end, encrypted) || find(at + 1, end, "-----BEGIN ")) {
        return acme_error_set(err, ACME_E_STORE, "AC0950",
                              "private key: no single PEM block of an encrypted one");
    }
    ERR_clear_error();
    bio = BIO_new_mem_buf(at, (int)(end - at));
    if (bio) {
        pkey = PEM_read_bio_PrivateKey(bio, NULL, given_passphrase, &given);
    }
    BIO_free(bio);
    return key_wrap(out, pkey, pool, err);
}

acme_rv_t acme_key_to_der(unsigned char **der, apr_size_t *len, const acme_key_t *key,
                          apr_pool_t *pool, acme_error_t *err)
{
    PKCS8_PRIV_KEY_INFO *info;
    unsigned char *bytes = NULL;
    int n = -1;

    ERR_clear_error();
    info = EVP_PKEY2PKCS8(key->pkey);
    if (info) {
        n = i2d_PKCS8_PRIV_KEY_INFO(info, &bytes);
    }
    PKCS8_PRIV_KEY_INFO_free(info);
    if (n <= 0) {
        return fail(err, ACME_E_INTERNAL, "AC0514", "private key: cannot be encoded");
    }
    *len = (apr_size_t)n;
    *der = secret_copy(bytes, *len, pool);
    OPENSSL_clear_free(bytes, *len);
    return ACME_OK;
}

acme_rv_t acme_key_from_der(acme_key_t **out, const unsigned char *der, apr_size_t len,
                            apr_pool_t *pool, acme_error_t *err)
{
    ERR_clear_error();
    return key_wrap(out, pkcs8_from_der(der, len), pool, err);
}

/* ---- JWK ---- */

static const char *jwk_number(const acme_key_t *key, int i, apr_pool_t *pool)
{
    int is_rsa = acme_key_type_is_rsa(key->type);
    BIGNUM *number = number_of(key->pkey, is_rsa, i);
    int len = number ? is_rsa ? BN_num_bytes(number) : types[key->type].size : 0;
    unsigned char *bytes = apr_palloc(pool, (apr_size_t)len + 1);
    char *text = NULL;

    if (number && BN_bn2binpad(number, bytes, len) == len) {
        text = acme_base64url_encode(bytes, (apr_size_t)len, pool);
        acme_cleanse_with(pool, text, strlen(text));
    }
    OPENSSL_cleanse(bytes, (size_t)len);
    BN_clear_free(number);
    return text;
}

/* Members sorted, as RFC 7638 section 3.3 wants them. NULL: a key that has no JWK form here. */
static acme_json_t *jwk_of(const acme_key_t *key, int private, apr_pool_t *pool)
{
    int is_rsa = acme_key_type_is_rsa(key->type);
    const number_t *numbers = is_rsa ? rsa_numbers : ec_numbers;
    acme_json_t *jwk = acme_json_new_object(pool);
    int i, kty_set = 0;

    if (!key->type_known) {
        return NULL;
    }
    if (!is_rsa) {
        acme_json_set_string(jwk, "crv", types[key->type].crv);
    }
    for (i = 0; i < (is_rsa ? RSA_NUMBERS : EC_NUMBERS); i++) {
        const char *text = numbers[i].secret && !private ? "" : jwk_number(key, i, pool);

        if (!kty_set && strcmp(numbers[i].member, "kty") > 0) {
            acme_json_set_string(jwk, "kty", is_rsa ? "RSA" : "EC");
            kty_set = 1;
        }
        if (!text) {
            return NULL;
        }
        if (*text) {
            acme_json_set_string(jwk, numbers[i].member, text);
        }
    }
    return jwk;
}

const char *acme_key_to_jwk(const acme_key_t *key, apr_pool_t *pool)
{
    const char *text = NULL;
    acme_json_t *jwk;
    apr_pool_t *own;

    ERR_clear_error();
    if (apr_pool_create(&own, pool) != APR_SUCCESS) {
        return NULL;
    }
    jwk = jwk_of(key, 1, own);
    if (jwk) {
        text = acme_json_dump(jwk, pool);
    }
    if (text) {
        acme_cleanse_with(pool, (char *)text, strlen(text));
    }
    apr_pool_destroy(own);
    ERR_clear_error();
    return text;
}

acme_json_t *acme_key_public_jwk(const acme_key_t *key, apr_pool_t *pool)
{
    acme_json_t *jwk;

    ERR_clear_error();
    jwk = jwk_of(key, 0, pool);
    ERR_clear_error();
    return jwk;
}

const char *acme_key_thumbprint(const acme_key_t *key, apr_pool_t *pool)
{
    acme_json_t *jwk = acme_key_public_jwk(key, pool);
    const char *text = jwk ? acme_json_dump(jwk, pool) : NULL;
    unsigned char digest[ACME_SHA256_LEN];

    if (!text) {
        return NULL;
    }
    acme_sha256(digest, text, strlen(text));
    return acme_base64url_encode(digest, sizeof(digest), pool);
}

static acme_rv_t jwk_refuse(acme_error_t *err, const char *why)
{
    ERR_clear_error();
    return acme_error_set(err, ACME_E_STORE, "AC0515", "private key (JWK): %s", why);
}

/* One member; *out stays NULL when it is not there and need not be. */
static acme_rv_t read_number(BIGNUM **out, const acme_json_t *jwk, const char *member,
                             acme_json_need_t need, apr_size_t max, apr_pool_t *pool,
                             acme_error_t *err)
{
    const char *text;
    unsigned char *bytes;
    apr_size_t len;

    if (acme_json_get_string(&text, jwk, member, need, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (!text) {
        return ACME_OK;
    }
    if (strlen(text) > TEXT_MAX) {
        return jwk_refuse(err, "a member is too long");
    }
    if (acme_base64url_decode(&bytes, &len, text, strlen(text), pool, err) != ACME_OK) {
        return acme_error_prefix(err, "private key (JWK): %s", member);
    }
    acme_cleanse_with(pool, bytes, len);
    if (len == 0 || len > max) {
        return jwk_refuse(err, "a number is empty or too long");
    }
    *out = BN_secure_new();
    if (!*out || !BN_bin2bn(bytes, (int)len, *out)) {
        return jwk_refuse(err, "out of memory");
    }
    return ACME_OK;
}

static acme_rv_t read_ec(acme_key_type_t *type, BIGNUM **numbers, const acme_json_t *jwk,
                         apr_pool_t *pool, acme_error_t *err)
{
    acme_rv_t rv = ACME_OK;
    const char *crv;
    int i;

    if (acme_json_get_string(&crv, jwk, "crv", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < ACME_KEY_TYPES; i++) {
        if (types[i].crv && strcmp(types[i].crv, crv) == 0) {
            break;
        }
    }
    if (i == ACME_KEY_TYPES) {
        return jwk_refuse(err, "\"crv\" is neither P-256 nor P-384");
    }
    *type = (acme_key_type_t)i;
    for (i = 0; i < EC_NUMBERS && rv == ACME_OK; i++) {
        rv = read_number(&numbers[i], jwk, ec_numbers[i].member, ACME_JSON_REQUIRED,
                         (apr_size_t)types[*type].size, pool, err);
    }
    return rv;
}

/* A factor of n, given e and d: r^(ed-1) is 1 for every r, and on the way there half of all r pass
 * through a square root of 1 that is neither 1 nor -1 (Rabin). */
static int factor_with(BIGNUM *factor, BIGNUM *const *numbers, const BIGNUM *odd, int twos,
                       BN_ULONG base, BN_CTX *ctx)
{
    const BIGNUM *n = numbers[RSA_N];
    int i, found = 0, ok;
    BIGNUM *x, *y, *minus_1;

    BN_CTX_start(ctx);
    x = BN_CTX_get(ctx);
    y = BN_CTX_get(ctx);
    minus_1 = BN_CTX_get(ctx);
    ok = minus_1 && BN_set_word(y, base) && BN_mod_exp(x, y, odd, n, ctx) && BN_copy(minus_1, n)
         && BN_sub_word(minus_1, 1);
    for (i = 0; i < twos && ok && !found && !BN_is_one(x) && BN_cmp(x, minus_1) != 0; i++) {
        ok = BN_mod_sqr(y, x, n, ctx) != 0;
        if (ok && BN_is_one(y)) {
            found = BN_sub_word(x, 1) && BN_gcd(factor, x, n, ctx);
        }
        else {
            ok = ok && BN_copy(x, y) != NULL;
        }
    }
    BN_CTX_end(ctx);
    return found;
}

/* p and q of a key that came with n, e and d alone. */
static int recover_factors(BIGNUM **numbers, BN_CTX *ctx)
{
    static const BN_ULONG bases[] = { 2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53 };
    BIGNUM *odd = BN_secure_new();
    int i, twos = 0, found = 0, ok;

    numbers_free(&numbers[RSA_P], 1);
    numbers_free(&numbers[RSA_Q], 1);
    numbers[RSA_P] = BN_secure_new();
    numbers[RSA_Q] = BN_secure_new();
    ok = odd && numbers[RSA_P] && numbers[RSA_Q]
         && BN_mul(odd, numbers[RSA_E], numbers[RSA_D], ctx) && BN_sub_word(odd, 1)
         && !BN_is_zero(odd);
    while (ok && !BN_is_odd(odd)) {
        ok = BN_rshift1(odd, odd);
        twos++;
    }
    for (i = 0; i < COUNT(bases) && ok && !found; i++) {
        found = factor_with(numbers[RSA_P], numbers, odd, twos, bases[i], ctx);
    }
    BN_clear_free(odd);
    if (!found || !BN_div(numbers[RSA_Q], NULL, numbers[RSA_N], numbers[RSA_P], ctx)) {
        return 0;
    }
    if (BN_cmp(numbers[RSA_P], numbers[RSA_Q]) < 0) {
        BN_swap(numbers[RSA_P], numbers[RSA_Q]);
    }
    return 1;
}

/* What follows from n, e, d, p and q is computed, not believed. */
static int complete_rsa(BIGNUM **numbers, BN_CTX *ctx)
{
    static const struct {
        int number, factor;
    } exponents[] = { { RSA_DP, RSA_P }, { RSA_DQ, RSA_Q } };
    BIGNUM *work;
    int i, ok;

    BN_CTX_start(ctx);
    work = BN_CTX_get(ctx);
    ok = work && !BN_is_one(numbers[RSA_P]) && !BN_is_one(numbers[RSA_Q])
         && BN_mul(work, numbers[RSA_P], numbers[RSA_Q], ctx)
         && BN_cmp(work, numbers[RSA_N]) == 0;
    for (i = 0; i < COUNT(exponents) && ok; i++) {
        BIGNUM **number = &numbers[exponents[i].number];

        *number = BN_secure_new();
        ok = *number && BN_copy(work, numbers[exponents[i].factor]) && BN_sub_word(work, 1)
             && BN_mod(*number, numbers[RSA_D], work, ctx);
    }
    numbers[RSA_QI] = BN_secure_new();
    ok = ok && numbers[RSA_QI]
         && BN_mod_inverse(numbers[RSA_QI], numbers[RSA_Q], numbers[RSA_P], ctx);
    BN_CTX_end(ctx);
    return ok;
}

static acme_rv_t read_rsa(acme_key_type_t *type, BIGNUM **numbers, const acme_json_t *jwk,
                          apr_pool_t *pool, acme_error_t *err)
{
    static const struct {
        int number;
        acme_json_need_t need;
        apr_size_t max;
    } wanted[] = {
        { RSA_N, ACME_JSON_REQUIRED, 4096 / 8 + 1 },
        { RSA_E, ACME_JSON_REQUIRED, E_BYTES_MAX },
        { RSA_D, ACME_JSON_REQUIRED, 4096 / 8 + 1 },
        { RSA_P, ACME_JSON_OPTIONAL, 4096 / 8 },
        { RSA_Q, ACME_JSON_OPTIONAL, 4096 / 8 },
    };
    BN_CTX *ctx;
    int i, bits, ok;

    for (i = 0; i < COUNT(wanted); i++) {
        if (read_number(&numbers[wanted[i].number], jwk, rsa_numbers[wanted[i].number].member,
                        wanted[i].need, wanted[i].max, pool, err) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    bits = BN_num_bits(numbers[RSA_N]);
    if (bits < 2048 || bits > 4096 || !BN_is_odd(numbers[RSA_N]) || !BN_is_odd(numbers[RSA_E])
        || BN_is_one(numbers[RSA_E]) || BN_cmp(numbers[RSA_D], numbers[RSA_N]) >= 0) {
        return jwk_refuse(err, "no RSA key of 2048 to 4096 bits");
    }
    *type = ACME_KEY_RSA2048; /* any RSA: the size is n's */
    ctx = BN_CTX_secure_new();
    ok = ctx && ((numbers[RSA_P] && numbers[RSA_Q]) || recover_factors(numbers, ctx))
         && complete_rsa(numbers, ctx);
    BN_CTX_free(ctx);
    return ok ? ACME_OK : jwk_refuse(err, "its numbers do not belong together");
}

static acme_rv_t read_jwk(EVP_PKEY **out, const char *text, apr_size_t len, apr_pool_t *scratch,
                          acme_error_t *err)
{
    BIGNUM *numbers[RSA_NUMBERS] = { NULL };
    acme_key_type_t type = ACME_KEY_P256;
    acme_json_t *jwk;
    const char *kty;
    acme_rv_t rv;

    if (acme_json_parse(&jwk, text, len, "private key (JWK)", scratch, err) != ACME_OK
        || acme_json_get_string(&kty, jwk, "kty", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (strcmp(kty, "EC") == 0) {
        rv = read_ec(&type, numbers, jwk, scratch, err);
    }
    else if (strcmp(kty, "RSA") == 0) {
        rv = read_rsa(&type, numbers, jwk, scratch, err);
    }
    else {
        rv = jwk_refuse(err, "\"kty\" is neither EC nor RSA");
    }
    if (rv == ACME_OK) {
        *out = pkey_build(type, numbers);
    }
    numbers_free(numbers, RSA_NUMBERS);
    return rv;
}

acme_rv_t acme_key_from_jwk(acme_key_t **out, const char *text, apr_size_t len, apr_pool_t *pool,
                            acme_error_t *err)
{
    EVP_PKEY *pkey = NULL;
    apr_pool_t *scratch;
    acme_rv_t rv;

    if (len > TEXT_MAX) {
        return jwk_refuse(err, "too long");
    }
    if (apr_pool_create(&scratch, pool) != APR_SUCCESS) {
        return jwk_refuse(err, "out of memory");
    }
    ERR_clear_error();
    rv = read_jwk(&pkey, text, len, scratch, err);
    apr_pool_destroy(scratch);
    return rv == ACME_OK ? key_wrap(out, pkey, pool, err) : ACME_FAIL;
}

/* ---- signing ---- */

const char *acme_key_jws_alg(const acme_key_t *key)
{
    return key->type_known ? types[key->type].alg : "";
}

/* From OpenSSL's DER to R || S (RFC 7518 section 3.4). */
static int flatten(unsigned char *out, int size, const unsigned char *der, size_t len)
{
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &der, (long)len);
    int ok = sig && BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, size) == size
             && BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + size, size) == size;

    ECDSA_SIG_free(sig);
    return ok;
}

acme_rv_t acme_key_jws_sign(const char **out, const acme_key_t *key, const char *input,
                            apr_size_t len, apr_pool_t *pool, acme_error_t *err)
{
    unsigned char *sig, flat[2 * 48];
    size_t sig_len;
    int ok;

    ERR_clear_error();
    ok = key->type_known && sign(&sig, &sig_len, key, input, len, pool);
    if (ok && !acme_key_type_is_rsa(key->type)) {
        ok = flatten(flat, types[key->type].size, sig, sig_len);
        sig = flat;
        sig_len = (size_t)(2 * types[key->type].size);
    }
    if (!ok) {
        return fail(err, ACME_E_INTERNAL, "AC0516", "private key: cannot sign");
    }
    *out = acme_base64url_encode(sig, sig_len, pool);
    return ACME_OK;
}
