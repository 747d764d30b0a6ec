/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* RFC 8555's objects. One table names every member of every object with the JSON types it may have;
 * from it each member is generated missing, null and of every type. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>

#include "base/name.h"
#include "protocol/message.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *message_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* ---- the six objects ---- */

typedef enum { DIRECTORY, ACCOUNT, ORDER, LIST, AUTHZ, CHALLENGE, KINDS } kind_t;

typedef union {
    void *any;
    acme_directory_t *directory;
    acme_account_t *account;
    acme_order_object_t *order;
    apr_array_header_t *list;
    acme_authz_object_t *authz;
    acme_challenge_object_t *challenge;
} object_t;

static acme_rv_t parse_bytes(object_t *out, kind_t kind, const char *text, apr_size_t len,
                             acme_error_t *err)
{
    out->any = NULL;
    switch (kind) {
    case DIRECTORY:
        return acme_directory_parse(&out->directory, text, len, pool, err);
    case ACCOUNT:
        return acme_account_parse(&out->account, text, len, pool, err);
    case ORDER:
        return acme_order_parse(&out->order, text, len, pool, err);
    case LIST:
        return acme_order_list_parse(&out->list, text, len, pool, err);
    case AUTHZ:
        return acme_authz_parse(&out->authz, text, len, pool, err);
    case CHALLENGE:
        return acme_challenge_parse(&out->challenge, text, len, pool, err);
    case KINDS:
        break;
    }
    return ACME_FAIL;
}

/* What an error must look like, and that it is not needed. */
static acme_rv_t parse(object_t *out, kind_t kind, const char *text, acme_error_t *err)
{
    object_t again;
    acme_rv_t rv;

    acme_error_clear(err);
    rv = parse_bytes(out, kind, text, strlen(text), err);
    ck_assert_msg((rv == ACME_OK) == (out->any != NULL), "%s", text);
    ck_assert_msg((rv == ACME_OK) == (err->kind == ACME_E_NONE), "%s: %s", text, err->text);
    ck_assert_msg(rv == ACME_OK || (err->kind == ACME_E_PROTOCOL && *err->code), "%s", text);
    ck_assert_int_eq(parse_bytes(&again, kind, text, strlen(text), NULL), rv);
    return rv;
}

static object_t must(kind_t kind, const char *text)
{
    acme_error_t err;
    object_t out;

    ck_assert_msg(parse(&out, kind, text, &err) == ACME_OK, "%s: %s", text, err.text);
    return out;
}

static void must_not(kind_t kind, const char *text, const char *said)
{
    acme_error_t err;
    object_t out;

    ck_assert_msg(parse(&out, kind, text, &err) == ACME_FAIL, "accepted: %s", text);
    ck_assert_msg(strstr(err.text, said) != NULL, "%s: \"%s\" without \"%s\"", text, err.text,
                  said);
}

/* ---- every member, missing and of every type ---- */

#define ALL "sirtfnaom"

static const struct {
    char letter;
    const char *json;
} values[] = {
    {'s', "\"text\""}, {'i', "7"}, {'r', "1.5"}, {'t', "true"}, {'f', "false"},
    {'n', "null"},     {'a', "[]"}, {'o', "{}"}, {'m', NULL /* missing */},
};

/* <MARK> stands for a member. */
static const char *const templates[KINDS] = {
    [DIRECTORY] = "{<newNonce><newAccount><newOrder><newAuthz><revokeCert><keyChange><renewalInfo>"
                  "<meta><extra>\"z\":0}",
    [ACCOUNT] = "{<status><orders><contact><agreed><binding><extra>\"z\":0}",
    [ORDER] = "{<status><expires><identifiers><notBefore><notAfter><authorizations><finalize>"
              "<certificate><error><profile><replaces><extra>\"z\":0}",
    [LIST] = "{<orders><extra>\"z\":0}",
    [AUTHZ] = "{<status><expires><identifier><wildcard><challenges><extra>\"z\":0}",
    [CHALLENGE] = "{<type><url><status><token><error><validated><extra>\"z\":0}",
};

/* key NULL: an item of an array. accepts: letters above. says: what the error names, the key unless
 * given; of an empty object: says_inner. */
static const struct {
    kind_t kind;
    const char *mark, *key, *good, *accepts, *says, *says_inner;
} members[] = {
    {DIRECTORY, "newNonce", "newNonce", "\"https://ca.example/nonce\"", "", NULL, NULL},
    {DIRECTORY, "newAccount", "newAccount", "\"https://ca.example/account\"", "", NULL, NULL},
    {DIRECTORY, "newOrder", "newOrder", "\"https://ca.example/order\"", "", NULL, NULL},
    {DIRECTORY, "newAuthz", "newAuthz", "\"https://ca.example/authz\"", ALL, NULL, NULL},
    {DIRECTORY, "revokeCert", "revokeCert", "\"https://ca.example/revoke\"", "nm", NULL, NULL},
    {DIRECTORY, "keyChange", "keyChange", "\"https://ca.example/change\"", "nm", NULL, NULL},
    {DIRECTORY, "renewalInfo", "renewalInfo", "\"https://ca.example/ari\"", "nm", NULL, NULL},
    {DIRECTORY, "meta", "meta", "{<terms><website><caa><eab><profiles><metaExtra>\"z\":0}", "onm",
     NULL, NULL},
    {DIRECTORY, "terms", "termsOfService", "\"https://ca.example/tos\"", "snm", NULL, NULL},
    {DIRECTORY, "website", "website", "\"https://ca.example/\"", "snm", NULL, NULL},
    {DIRECTORY, "caa", "caaIdentities", "[\"ca.example\"]", ALL, NULL, NULL},
    {DIRECTORY, "eab", "externalAccountRequired", "true", "tfnm", NULL, NULL},
    {DIRECTORY, "profiles", "profiles", "{<classic>\"z\":\"last\"}", "onm", NULL, NULL},
    {DIRECTORY, "classic", "classic", "\"the usual\"", ALL, NULL, NULL},
    {DIRECTORY, "metaExtra", "extra", "{\"a\":[{\"b\":null}]}", ALL, NULL, NULL},
    {DIRECTORY, "extra", "vAhKxPDfhRo", "\"https://ca.example/why\"", ALL, NULL, NULL},

    {ACCOUNT, "status", "status", "\"valid\"", "", NULL, NULL},
    {ACCOUNT, "orders", "orders", "\"https://ca.example/orders/1\"", "nm", NULL, NULL},
    {ACCOUNT, "contact", "contact", "[<one>]", "anm", NULL, NULL},
    {ACCOUNT, "one", NULL, "\"mailto:a@example.org\"", "sm", "contact", NULL},
    {ACCOUNT, "agreed", "termsOfServiceAgreed", "true", ALL, NULL, NULL},
    {ACCOUNT, "binding", "externalAccountBinding", "{}", ALL, NULL, NULL},
    {ACCOUNT, "extra", "initialIp", "\"192.0.2.1\"", ALL, NULL, NULL},

    {ORDER, "status", "status", "\"pending\"", "", NULL, NULL},
    {ORDER, "expires", "expires", "\"2026-12-01T00:00:00Z\"", "snm", NULL, NULL},
    {ORDER, "identifiers", "identifiers", "[<identifier>]", "a", NULL, NULL},
    {ORDER, "identifier", NULL, "{<type><value><idExtra>\"z\":0}", "m", "identifiers", "type"},
    {ORDER, "type", "type", "\"dns\"", "", NULL, NULL},
    {ORDER, "value", "value", "\"example.org\"", "s", NULL, NULL},
    {ORDER, "idExtra", "ancestorDomain", "\"org\"", ALL, NULL, NULL},
    {ORDER, "notBefore", "notBefore", "\"2026-12-01T00:00:00Z\"", ALL, NULL, NULL},
    {ORDER, "notAfter", "notAfter", "\"2026-12-01T00:00:00Z\"", ALL, NULL, NULL},
    {ORDER, "authorizations", "authorizations", "[<one>]", "anm", NULL, NULL},
    {ORDER, "one", NULL, "\"https://ca.example/authz/1\"", "m", "authorizations", NULL},
    {ORDER, "finalize", "finalize", "\"https://ca.example/finalize/1\"", "", NULL, NULL},
    {ORDER, "certificate", "certificate", "\"https://ca.example/cert/1\"", "nm", NULL, NULL},
    {ORDER, "error", "error", "{<errorType><detail><parts><errorExtra>\"z\":0}", "onm", NULL, NULL},
    {ORDER, "errorType", "type", "\"urn:ietf:params:acme:error:caa\"", ALL, NULL, NULL},
    {ORDER, "detail", "detail", "\"forbidden\"", ALL, NULL, NULL},
    {ORDER, "parts", "subproblems", "[{}]", ALL, NULL, NULL},
    {ORDER, "errorExtra", "status", "403", ALL, NULL, NULL},
    {ORDER, "profile", "profile", "\"classic\"", ALL, NULL, NULL},
    {ORDER, "replaces", "replaces", "\"a.b\"", ALL, NULL, NULL},
    {ORDER, "extra", "star", "true", ALL, NULL, NULL},

    {LIST, "orders", "orders", "[<one>]", "a", NULL, NULL},
    {LIST, "one", NULL, "\"https://ca.example/order/1\"", "m", "orders", NULL},
    {LIST, "extra", "next", "2", ALL, NULL, NULL},

    {AUTHZ, "status", "status", "\"pending\"", "", NULL, NULL},
    {AUTHZ, "expires", "expires", "\"2026-12-01T00:00:00Z\"", "snm", NULL, NULL},
    {AUTHZ, "identifier", "identifier", "{<type><value><idExtra>\"z\":0}", "", NULL, "type"},
    {AUTHZ, "type", "type", "\"dns\"", "", NULL, NULL},
    {AUTHZ, "value", "value", "\"example.org\"", "s", NULL, NULL},
    {AUTHZ, "idExtra", "extra", "[]", ALL, NULL, NULL},
    {AUTHZ, "wildcard", "wildcard", "false", "tfnm", NULL, NULL},
    {AUTHZ, "challenges", "challenges", "[<two>]", "a", NULL, NULL},
    {AUTHZ, "two", NULL, "{<cType><cUrl><cStatus><cToken><cError><cExtra>\"z\":0},"
     "{<xType><xUrl><xStatus><xToken>\"z\":0}", ALL, NULL, NULL},
    {AUTHZ, "cType", "type", "\"http-01\"", ALL, NULL, NULL}, /* then it is none we know */
    {AUTHZ, "cUrl", "url", "\"https://ca.example/chall/1\"", "", NULL, NULL},
    {AUTHZ, "cStatus", "status", "\"pending\"", "", NULL, NULL},
    {AUTHZ, "cToken", "token", "\"DGyRejmCefe7v4NfDGDKfA\"", "nm", NULL, NULL},
    {AUTHZ, "cError", "error", "{\"type\":\"x\"}", "onm", NULL, NULL},
    {AUTHZ, "cExtra", "keyAuthorization", "\"DGyRejmCefe7v4NfDGDKfA.x\"", ALL, NULL, NULL},
    {AUTHZ, "xType", "type", "\"x-99\"", ALL, NULL, NULL},
    {AUTHZ, "xUrl", "url", "\"https://ca.example/chall/2\"", ALL, NULL, NULL},
    {AUTHZ, "xStatus", "status", "\"pending\"", ALL, NULL, NULL},
    {AUTHZ, "xToken", "token", "\"DGyRejmCefe7v4NfDGDKfA\"", ALL, NULL, NULL},
    {AUTHZ, "extra", "geoAgnostic", "true", ALL, NULL, NULL},

    {CHALLENGE, "type", "type", "\"http-01\"", "s", NULL, NULL},
    {CHALLENGE, "url", "url", "\"https://ca.example/chall/1\"", "", NULL, NULL},
    {CHALLENGE, "status", "status", "\"processing\"", "", NULL, NULL},
    {CHALLENGE, "token", "token", "\"DGyRejmCefe7v4NfDGDKfA\"", "nm", NULL, NULL},
    {CHALLENGE, "error", "error", "{\"type\":\"x\"}", "onm", NULL, NULL},
    {CHALLENGE, "validated", "validated", "\"2026-12-01T00:00:00Z\"", ALL, NULL, NULL},
    {CHALLENGE, "extra", "validationRecord", "[{\"url\":\"http://x\"}]", ALL, NULL, NULL},
};

static int member_of(kind_t kind, const char *mark, apr_size_t len)
{
    int i;

    for (i = 0; i < COUNT(members); i++) {
        if (members[i].kind == kind && strlen(members[i].mark) == len
            && strncmp(members[i].mark, mark, len) == 0) {
            return i;
        }
    }
    ck_abort_msg("no member %.*s", (int)len, mark);
    return -1;
}

/* The template with all members good but one, which gets this value or, for NULL, is missing. */
static const char *expand(kind_t kind, const char *text, int odd, const char *value)
{
    const char *mark = strchr(text, '<');
    const char *end, *rest, *good;
    int i;

    if (!mark) {
        return text;
    }
    end = strchr(mark, '>');
    rest = expand(kind, end + 1, odd, value);
    i = member_of(kind, mark + 1, (apr_size_t)(end - mark - 1));
    text = apr_pstrmemdup(pool, text, (apr_size_t)(mark - text));
    if (i == odd && !value) {
        return apr_pstrcat(pool, text, rest, NULL);
    }
    good = i == odd ? value : expand(kind, members[i].good, odd, value);
    return !members[i].key
           ? apr_pstrcat(pool, text, good, rest, NULL)
           : apr_pstrcat(pool, text, "\"", members[i].key, "\":", good, ",", rest, NULL);
}

static const char *good_text(kind_t kind)
{
    return expand(kind, templates[kind], -1, NULL);
}

START_TEST(every_type_of_every_member)
{
    int i;

    for (i = 0; i < COUNT(values); i++) {
        const char *text = expand(members[_i].kind, templates[members[_i].kind], _i,
                                  values[i].json);
        const char *says = members[_i].says ? members[_i].says : members[_i].key;

        if (strchr(members[_i].accepts, values[i].letter)) {
            (void)must(members[_i].kind, text);
        }
        else {
            must_not(members[_i].kind, text,
                     values[i].letter == 'o' && members[_i].says_inner ? members[_i].says_inner
                                                                       : says);
        }
    }
}
END_TEST

START_TEST(each_good_text_is_good)
{
    (void)must(_i, good_text(_i));
}
END_TEST

/* A proxy gives the answer of another request. */
START_TEST(one_object_is_never_taken_for_another)
{
    int kind;

    for (kind = 0; kind < KINDS; kind++) {
        acme_error_t err;
        object_t out;

        ck_assert_int_eq(parse(&out, kind, good_text(_i), &err),
                         kind == _i ? ACME_OK : ACME_FAIL);
    }
}
END_TEST

START_TEST(cut_ones_are_refused)
{
    const char *text = good_text(_i);
    apr_size_t len;

    for (len = 0; len < strlen(text); len++) {
        must_not(_i, apr_pstrmemdup(pool, text, len), "");
    }
    must_not(_i, apr_pstrcat(pool, text, "x", NULL), "");
    must_not(_i, apr_pstrcat(pool, text, text, NULL), "");
    must_not(_i, apr_pstrcat(pool, "\xef\xbb\xbf", text, NULL), "");
}
END_TEST

static const char *const foreign[] = {
    "", " ", "null", "true", "7", "\"text\"", "{}", "{", "[[]]", "[null]", "[{}]", "[7]", "[",
    "<html></html>", "{\"status\":\"valid\",\"status\":\"valid\"}",
    "{\"type\":\"urn:ietf:params:acme:error:malformed\",\"detail\":\"no\"}",
};

START_TEST(foreign_texts_are_refused)
{
    int kind;

    for (kind = 0; kind < KINDS; kind++) {
        must_not(kind, foreign[_i], "");
    }
}
END_TEST

START_TEST(the_first_cause_is_kept)
{
    acme_error_t err;
    object_t out;

    acme_error_clear(&err);
    (void)acme_error_set(&err, ACME_E_NETWORK, "AC0201", "reset");
    ck_assert_int_eq(parse_bytes(&out, DIRECTORY, "{\"new-reg\":1}", 13, &err), ACME_FAIL);
    ck_assert_str_eq(err.text, "reset");
    ck_assert_int_eq(err.retry, ACME_RETRY_LADDER);
}
END_TEST

/* ---- URLs ---- */

static const struct {
    kind_t kind;
    const char *mark;
} url_members[] = {
    {DIRECTORY, "newNonce"}, {DIRECTORY, "newAccount"}, {DIRECTORY, "newOrder"},
    {DIRECTORY, "revokeCert"}, {DIRECTORY, "keyChange"}, {DIRECTORY, "renewalInfo"},
    {ACCOUNT, "orders"}, {ORDER, "one"}, {ORDER, "finalize"}, {ORDER, "certificate"},
    {LIST, "one"}, {AUTHZ, "cUrl"}, {CHALLENGE, "url"},
};

static const struct {
    const char *url;
    int good;
} urls[] = {
    {"https://ca.example/a", 1},
    {"https://other.example/a", 1},
    {"https://CA.Example:443/a%2fb//c/", 1},
    {"https://ca.example", 1},
    {"https://[::1]:14000/x?y=z", 1},
    {"", 0},
    {"http://ca.example/a", 0},
    {"/a", 0},
    {"//ca.example/a", 0},
    {"javascript:alert(1)", 0},
    {"file:///etc/passwd", 0},
    {"https://user@ca.example/", 0},
    {"https://ca.example/#f", 0},
    {"https://ca.example/\\r\\nHost: evil", 0},
    {"https://ca.example/a b", 0},
    {"https://ca.example/\\u0000", 0},
    {"https://ca.example/\\u00e4", 0},
    {"https://ca.example:0/", 0},
};

START_TEST(only_https_urls)
{
    kind_t kind = url_members[_i].kind;
    int member = member_of(kind, url_members[_i].mark, strlen(url_members[_i].mark));
    char *overlong = apr_palloc(pool, 10241);
    int i;

    for (i = 0; i < COUNT(urls); i++) {
        const char *value = apr_psprintf(pool, "\"%s\"", urls[i].url);
        const char *text = expand(kind, templates[kind], member, value);

        if (urls[i].good) {
            (void)must(kind, text);
        }
        else {
            must_not(kind, text, "");
        }
    }
    memset(overlong, 'a', 10240);
    memcpy(overlong, "https://ca.example/", 19);
    overlong[10240] = '\0';
    must_not(kind, expand(kind, templates[kind], member, apr_psprintf(pool, "\"%s\"", overlong)),
             "");
}
END_TEST

START_TEST(urls_are_kept_byte_for_byte)
{
    static const char url[] = "https://CA.Example:443/a%2fb//c/?x=%7e";
    int member = member_of(ORDER, "finalize", 8);
    object_t out = must(ORDER, expand(ORDER, templates[ORDER], member,
                                      apr_psprintf(pool, "\"%s\"", url)));

    ck_assert_str_eq(out.order->finalize, url);
}
END_TEST

/* ---- directory ---- */

static void same_list(const apr_array_header_t *list, int n, const char *const *want)
{
    int i;

    ck_assert_int_eq(list->nelts, n);
    for (i = 0; i < n; i++) {
        ck_assert_str_eq(APR_ARRAY_IDX(list, i, const char *), want[i]);
    }
}

/* RFC 8555 section 7.1.1. */
#define EXAMPLE "https://example.com/acme"
static const char rfc_directory[] =
    "{\n"
    "  \"newNonce\": \"" EXAMPLE "/new-nonce\",\n"
    "  \"newAccount\": \"" EXAMPLE "/new-account\",\n"
    "  \"newOrder\": \"" EXAMPLE "/new-order\",\n"
    "  \"newAuthz\": \"" EXAMPLE "/new-authz\",\n"
    "  \"revokeCert\": \"" EXAMPLE "/revoke-cert\",\n"
    "  \"keyChange\": \"" EXAMPLE "/key-change\",\n"
    "  \"meta\": {\n"
    "    \"termsOfService\": \"" EXAMPLE "/terms/2017-5-30\",\n"
    "    \"website\": \"https://www.example.com/\",\n"
    "    \"caaIdentities\": [\"example.com\"],\n"
    "    \"externalAccountRequired\": false\n"
    "  }\n"
    "}\n";

START_TEST(directory_of_the_rfc)
{
    char *bytes = apr_pstrdup(pool, rfc_directory);
    acme_directory_t *directory;

    ck_assert_int_eq(acme_directory_parse(&directory, bytes, strlen(bytes), pool, NULL), ACME_OK);
    memset(bytes, 'x', strlen(bytes)); /* nothing may still point there */
    ck_assert_str_eq(directory->new_nonce, EXAMPLE "/new-nonce");
    ck_assert_str_eq(directory->new_account, EXAMPLE "/new-account");
    ck_assert_str_eq(directory->new_order, EXAMPLE "/new-order");
    ck_assert_str_eq(directory->revoke_cert, EXAMPLE "/revoke-cert");
    ck_assert_str_eq(directory->key_change, EXAMPLE "/key-change");
    ck_assert_ptr_null(directory->renewal_info);
    ck_assert_str_eq(directory->terms_of_service, EXAMPLE "/terms/2017-5-30");
    ck_assert_str_eq(directory->website, "https://www.example.com/");
    ck_assert_int_eq(directory->external_account_required, 0);
    ck_assert_int_eq(directory->profiles->nelts, 0);
    ck_assert_str_eq(directory->text, rfc_directory);
}
END_TEST

START_TEST(directory_with_all)
{
    const char *const names[] = {"classic", "z"};
    acme_directory_t *directory = must(DIRECTORY, good_text(DIRECTORY)).directory;

    ck_assert_str_eq(directory->renewal_info, "https://ca.example/ari");
    ck_assert_int_eq(directory->external_account_required, 1);
    ck_assert(acme_names_equal(directory->profiles,
                               must(DIRECTORY, directory->text).directory->profiles));
    ck_assert_int_eq(directory->profiles->nelts, 2);
    ck_assert(acme_names_contain(directory->profiles, names[0]));
    ck_assert(acme_names_contain(directory->profiles, names[1]));
}
END_TEST

/* Pebble's terms are a data: URL; empty ones are none; controls are for nobody's terminal. */
static const struct {
    const char *terms, *want;
} terms[] = {
    {"data:text/plain,Do%20what%20thou%20wilt", "data:text/plain,Do%20what%20thou%20wilt"},
    {"http://ca.example/tos", "http://ca.example/tos"},
    {"", NULL},
    {"a\\u001b[31mb\\r\\nc", "a?[31mb??c"},
};

START_TEST(terms_are_for_people)
{
    acme_directory_t *directory
        = must(DIRECTORY, expand(DIRECTORY, templates[DIRECTORY], member_of(DIRECTORY, "terms", 5),
                                 apr_psprintf(pool, "\"%s\"", terms[_i].terms))).directory;

    ck_assert_pstr_eq(directory->terms_of_service, terms[_i].want);
}
END_TEST

/* As acme-v01.api.letsencrypt.org sent it. */
START_TEST(version_one_is_told)
{
    static const char text[] =
        "{\"key-change\":\"https://ca.example/acme/key-change\",\"meta\":{\"terms-of-service\":"
        "\"https://ca.example/tos.pdf\"},\"new-authz\":\"https://ca.example/acme/new-authz\","
        "\"new-cert\":\"https://ca.example/acme/new-cert\","
        "\"new-reg\":\"https://ca.example/acme/new-reg\","
        "\"revoke-cert\":\"https://ca.example/acme/revoke-cert\"}";
    acme_error_t err;
    object_t out;

    ck_assert_int_eq(parse(&out, DIRECTORY, text, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "version 1"));
    ck_assert_int_eq(err.retry, ACME_RETRY_HUMAN);
    (void)must(DIRECTORY, expand(DIRECTORY, templates[DIRECTORY], member_of(DIRECTORY, "extra", 5),
                                 "1,\"new-reg\":1"));
}
END_TEST

/* ---- account ---- */

/* RFC 8555 section 7.1.2. */
START_TEST(account_of_the_rfc)
{
    static const char text[] =
        "{\"status\": \"valid\", \"contact\": [\"mailto:cert-admin@example.org\","
        "\"mailto:admin@example.org\"], \"termsOfServiceAgreed\": true,"
        "\"orders\": \"" EXAMPLE "/orders/rzGoeA\"}";
    static const char *const contacts[] = {"mailto:cert-admin@example.org",
                                           "mailto:admin@example.org"};
    acme_account_t *account = must(ACCOUNT, text).account;

    ck_assert_int_eq(account->status, ACME_ACCOUNT_VALID);
    ck_assert_str_eq(account->orders, EXAMPLE "/orders/rzGoeA");
    same_list(account->contact, 2, contacts);
}
END_TEST

START_TEST(account_of_little)
{
    acme_account_t *account = must(ACCOUNT, "{\"status\":\"deactivated\"}").account;

    ck_assert_int_eq(account->status, ACME_ACCOUNT_DEACTIVATED);
    ck_assert_ptr_null(account->orders);
    ck_assert_int_eq(account->contact->nelts, 0);
    ck_assert_int_eq(must(ACCOUNT, "{\"status\":\"revoked\"}").account->status,
                     ACME_ACCOUNT_REVOKED);
}
END_TEST

/* ---- status words ---- */

static const struct {
    kind_t kind;
    const char *mark, *word;
    int want; /* -1: refused */
} words[] = {
    {ACCOUNT, "status", "valid", ACME_ACCOUNT_VALID},
    {ACCOUNT, "status", "deactivated", ACME_ACCOUNT_DEACTIVATED},
    {ACCOUNT, "status", "revoked", ACME_ACCOUNT_REVOKED},
    {ACCOUNT, "status", "pending", -1},
    {ORDER, "status", "pending", ACME_ORDER_PENDING},
    {ORDER, "status", "ready", ACME_ORDER_READY},
    {ORDER, "status", "processing", ACME_ORDER_PROCESSING},
    {ORDER, "status", "valid", ACME_ORDER_VALID},
    {ORDER, "status", "invalid", ACME_ORDER_INVALID},
    {ORDER, "status", "expired", -1},
    {ORDER, "status", "Pending", -1},
    {ORDER, "status", "pending ", -1},
    {ORDER, "status", "", -1},
    {ORDER, "status", "valid\\u001b[2J", -1},
    {AUTHZ, "status", "pending", ACME_AUTHZ_PENDING},
    {AUTHZ, "status", "valid", ACME_AUTHZ_VALID},
    {AUTHZ, "status", "invalid", ACME_AUTHZ_INVALID},
    {AUTHZ, "status", "deactivated", ACME_AUTHZ_DEACTIVATED},
    {AUTHZ, "status", "expired", ACME_AUTHZ_EXPIRED},
    {AUTHZ, "status", "revoked", ACME_AUTHZ_REVOKED},
    {AUTHZ, "status", "processing", -1},
    {AUTHZ, "cStatus", "expired", -1},
    {CHALLENGE, "status", "pending", ACME_CHALLENGE_PENDING},
    {CHALLENGE, "status", "processing", ACME_CHALLENGE_PROCESSING},
    {CHALLENGE, "status", "valid", ACME_CHALLENGE_VALID},
    {CHALLENGE, "status", "invalid", ACME_CHALLENGE_INVALID},
    {CHALLENGE, "status", "ready", -1},
};

static int status_in(kind_t kind, object_t out)
{
    switch (kind) {
    case ACCOUNT:
        return (int)out.account->status;
    case ORDER:
        return (int)out.order->status;
    case AUTHZ:
        return (int)out.authz->status;
    case CHALLENGE:
        return (int)out.challenge->status;
    case DIRECTORY:
    case LIST:
    case KINDS:
        break;
    }
    return -1;
}

START_TEST(status_words)
{
    kind_t kind = words[_i].kind;
    int member = member_of(kind, words[_i].mark, strlen(words[_i].mark));
    const char *text = expand(kind, templates[kind], member,
                              apr_psprintf(pool, "\"%s\"", words[_i].word));
    acme_error_t err;
    object_t out;

    if (words[_i].want >= 0) {
        ck_assert_int_eq(status_in(kind, must(kind, text)), words[_i].want);
        return;
    }
    ck_assert_int_eq(parse(&out, kind, text, &err), ACME_FAIL);
    ck_assert_ptr_nonnull(strstr(err.text, "unknown status"));
    ck_assert_ptr_nonnull(strstr(err.text, apr_pstrmemdup(pool, words[_i].word,
                                                          strcspn(words[_i].word, "\\"))));
    ck_assert_ptr_null(strchr(err.text, '\x1b'));
}
END_TEST

START_TEST(order_status_names)
{
    ck_assert_str_eq(acme_order_status_name(ACME_ORDER_PENDING), "pending");
    ck_assert_str_eq(acme_order_status_name(ACME_ORDER_READY), "ready");
    ck_assert_str_eq(acme_order_status_name(ACME_ORDER_PROCESSING), "processing");
    ck_assert_str_eq(acme_order_status_name(ACME_ORDER_VALID), "valid");
    ck_assert_str_eq(acme_order_status_name(ACME_ORDER_INVALID), "invalid");
    ck_assert_str_eq(acme_order_status_name((acme_order_status_t)99), "unknown");
}
END_TEST

/* ---- order ---- */

/* RFC 8555 section 7.1.3. */
START_TEST(order_of_the_rfc)
{
    static const char text[] =
        "{ \"status\": \"valid\", \"expires\": \"2016-01-20T14:09:07.99Z\","
        "\"identifiers\": [ { \"type\": \"dns\", \"value\": \"www.example.org\" },"
        "{ \"type\": \"dns\", \"value\": \"example.org\" } ],"
        "\"notBefore\": \"2016-01-01T00:00:00Z\", \"notAfter\": \"2016-01-08T00:00:00Z\","
        "\"authorizations\": [ \"" EXAMPLE "/authz/PAniVnsZcis\","
        "\"" EXAMPLE "/authz/r4HqLzrSrpI\" ],"
        "\"finalize\": \"" EXAMPLE "/order/TOlocE8rfgo/finalize\","
        "\"certificate\": \"" EXAMPLE "/cert/mAt3xBGaobw\" }";
    static const char *const names[] = {"www.example.org", "example.org"};
    static const char *const authz[] = {EXAMPLE "/authz/PAniVnsZcis", EXAMPLE "/authz/r4HqLzrSrpI"};
    acme_order_object_t *order = must(ORDER, text).order;

    ck_assert_int_eq(order->status, ACME_ORDER_VALID);
    ck_assert_int_eq(order->expires, APR_INT64_C(1453298947990000));
    same_list(order->names, 2, names);
    same_list(order->authorizations, 2, authz);
    ck_assert_str_eq(order->finalize, EXAMPLE "/order/TOlocE8rfgo/finalize");
    ck_assert_str_eq(order->certificate, EXAMPLE "/cert/mAt3xBGaobw");
    ck_assert_ptr_null(order->error);
}
END_TEST

/* An invalid order may have nothing but its error. */
START_TEST(order_that_is_invalid)
{
    acme_order_object_t *order
        = must(ORDER, "{\"status\":\"invalid\",\"identifiers\":[],\"expires\":\"soon\","
                      "\"error\":{\"type\":\"urn:ietf:params:acme:error:caa\","
                      "\"detail\":\"forbidden\"}}").order;

    ck_assert_ptr_null(order->finalize);
    ck_assert_ptr_null(order->certificate);
    ck_assert_int_eq(order->expires, 0);
    ck_assert_int_eq(order->authorizations->nelts, 0);
    ck_assert_str_eq(order->error->type, "caa");
    ck_assert_str_eq(order->error->detail, "forbidden");
}
END_TEST

/* name: in canonical form, NULL: refused. of_authz: in an authorization too. */
static const struct {
    const char *type, *value, *name;
    int of_authz;
} identifiers[] = {
    {"dns", "example.org", "example.org", 1},
    {"dns", "EXAMPLE.org", "example.org", 1},
    {"dns", "example.org.", "example.org", 1},
    {"dns", "xn--bcher-kva.example", "xn--bcher-kva.example", 1},
    {"dns", "XN--BCHER-KVA.example", "xn--bcher-kva.example", 1},
    {"dns", "*.example.org", "*.example.org", 0},
    {"dns", "*.EXAMPLE.org", "*.example.org", 0},
    {"ip", "192.0.2.1", "192.0.2.1", 1},
    {"ip", "2001:DB8:0:0::1", "2001:db8::1", 1},
    {"dns", "b\\u00fccher.example", NULL, 0},
    {"dns", "192.0.2.1", NULL, 0},
    {"dns", "2001:db8::1", NULL, 0},
    {"ip", "example.org", NULL, 0},
    {"ip", "192.0.2.256", NULL, 0},
    {"ip", "192.0.2.1/24", NULL, 0},
    {"dns", "", NULL, 0},
    {"dns", ".", NULL, 0},
    {"dns", "*", NULL, 0},
    {"dns", "a*.example.org", NULL, 0},
    {"dns", "www.*.example.org", NULL, 0},
    {"dns", "*.*.example.org", NULL, 0},
    {"dns", "a_b.example.org", NULL, 0},
    {"dns", "../../etc/passwd", NULL, 0},
    {"dns", "example.org\\r\\nx", NULL, 0},
    {"dns", "example.org\\u0000.evil.example", NULL, 0},
    {"dns", "exa mple.org", NULL, 0},
    {"DNS", "example.org", NULL, 0},
    {"email", "a@example.org", NULL, 0},
    {"TNAuthList", "F83n2a", NULL, 0},
    {"permanent-identifier", "123", NULL, 0},
    {"", "example.org", NULL, 0},
};

START_TEST(identifiers_are_names)
{
    const char *id = apr_psprintf(pool, "{\"type\":\"%s\",\"value\":\"%s\"}", identifiers[_i].type,
                                  identifiers[_i].value);
    const char *of_order = expand(ORDER, templates[ORDER], member_of(ORDER, "identifier", 10), id);
    const char *of_authz = expand(AUTHZ, templates[AUTHZ], member_of(AUTHZ, "identifier", 10), id);
    const char *const *want = &identifiers[_i].name;

    if (*want) {
        same_list(must(ORDER, of_order).order->names, 1, want);
    }
    else {
        must_not(ORDER, of_order, "");
    }
    if (identifiers[_i].of_authz) {
        ck_assert_str_eq(must(AUTHZ, of_authz).authz->name, *want);
    }
    else {
        must_not(AUTHZ, of_authz, "");
    }
}
END_TEST

/* n items, all alike. */
static const char *many(const char *item, int n)
{
    apr_array_header_t *items = apr_array_make(pool, n, sizeof(const char *));

    while (items->nelts < n) {
        APR_ARRAY_PUSH(items, const char *) = item;
    }
    return apr_pstrcat(pool, "[", apr_array_pstrcat(pool, items, ','), "]", NULL);
}

#define CH_X "{\"type\":\"x-99\",\"url\":\"https://ca.example/c\",\"status\":\"pending\"}"

static const struct {
    kind_t kind;
    const char *mark, *item;
    int max;
} caps[] = {
    {ACCOUNT, "contact", "\"mailto:a@example.org\"", 1000},
    {ORDER, "identifiers", "{\"type\":\"dns\",\"value\":\"example.org\"}", 1000},
    {ORDER, "authorizations", "\"https://ca.example/a\"", 1000},
    {AUTHZ, "challenges", CH_X, ACME_AUTHZ_CHALLENGES_MAX},
    {AUTHZ, "challenges", "7", ACME_AUTHZ_CHALLENGES_MAX},
};

START_TEST(lists_are_capped)
{
    kind_t kind = caps[_i].kind;
    int member = member_of(kind, caps[_i].mark, strlen(caps[_i].mark));

    (void)must(kind, expand(kind, templates[kind], member, many(caps[_i].item, caps[_i].max)));
    must_not(kind, expand(kind, templates[kind], member, many(caps[_i].item, caps[_i].max + 1)),
             caps[_i].mark);
}
END_TEST

/* RFC 8555 section 7.1.2.1. */
START_TEST(list_of_the_rfc)
{
    static const char *const want[] = {EXAMPLE "/order/TOlocE8rfgo", EXAMPLE "/order/4E16bbL5iSw",
                                       EXAMPLE "/order/neBHYLfw0mg"};
    const char *array = apr_psprintf(pool, "[ \"%s\", \"%s\", \"%s\" ]", want[0], want[1], want[2]);

    same_list(must(LIST, apr_psprintf(pool, "{\n \"orders\": %s\n}\n", array)).list, 3, want);
    same_list(must(LIST, array).list, 3, want);
    same_list(must(LIST, apr_psprintf(pool, "\n\t %s\r\n", array)).list, 3, want);
    ck_assert_int_eq(must(LIST, "{\"orders\":[]}").list->nelts, 0);
    ck_assert_int_eq(must(LIST, "[]").list->nelts, 0);
}
END_TEST

START_TEST(list_alone_is_no_way_in)
{
    must_not(LIST, "[],\"x\":[]", "");
    must_not(LIST, "[]}", "");
    must_not(LIST, "[\"/a\"]", "orders");
    must_not(LIST, "[", "");
    must_not(ORDER, "[]", "");
}
END_TEST

START_TEST(long_list_is_cut)
{
    ck_assert_int_eq(must(LIST, many("\"https://ca.example/o\"", 2001)).list->nelts, 2000);
}
END_TEST

/* ---- authorization, challenge ---- */

/* RFC 8555 section 7.5. */
START_TEST(authz_of_the_rfc)
{
    static const char text[] =
        "{ \"status\": \"pending\", \"expires\": \"2015-03-01T14:09:07Z\","
        "\"identifier\": { \"type\": \"dns\", \"value\": \"www.example.org\" },"
        "\"challenges\": [ { \"type\": \"http-01\", \"url\": \"" EXAMPLE "/chall/prV_B7yEyA4\","
        "\"status\": \"pending\", \"token\": \"DGyRejmCefe7v4NfDGDKfA\" },"
        "{ \"type\": \"dns-01\", \"url\": \"" EXAMPLE "/chall/Rg5dV14Gh1Q\","
        "\"status\": \"pending\", \"token\": \"DGyRejmCefe7v4NfDGDKfA\" } ] }";
    acme_authz_object_t *authz = must(AUTHZ, text).authz;
    acme_challenge_object_t *challenge;

    ck_assert_int_eq(authz->status, ACME_AUTHZ_PENDING);
    ck_assert_str_eq(authz->name, "www.example.org");
    ck_assert_int_eq(authz->wildcard, 0);
    ck_assert_int_eq(authz->expires, apr_time_from_sec(1425218947));
    ck_assert_str_eq(authz->offered, "http-01 dns-01");
    ck_assert_int_eq(authz->challenges->nelts, 2);
    challenge = APR_ARRAY_IDX(authz->challenges, 1, acme_challenge_object_t *);
    ck_assert_str_eq(challenge->type, "dns-01");
    ck_assert_str_eq(challenge->url, EXAMPLE "/chall/Rg5dV14Gh1Q");
    ck_assert_str_eq(challenge->token, "DGyRejmCefe7v4NfDGDKfA");
    ck_assert_int_eq(challenge->status, ACME_CHALLENGE_PENDING);
    ck_assert_ptr_null(challenge->error);
}
END_TEST

#define AUTHZ_OF(status, more, challenges) \
    "{\"status\":\"" status "\",\"identifier\":{\"type\":\"dns\",\"value\":\"example.org\"}" more \
    ",\"challenges\":" challenges "}"

START_TEST(authz_of_a_wildcard)
{
    acme_authz_object_t *authz = must(AUTHZ, AUTHZ_OF("pending", ",\"wildcard\":true", "[]")).authz;

    ck_assert_str_eq(authz->name, "example.org");
    ck_assert_int_eq(authz->wildcard, 1);
    must_not(AUTHZ, "{\"status\":\"pending\",\"identifier\":{\"type\":\"ip\",\"value\":"
                    "\"192.0.2.1\"},\"wildcard\":true,\"challenges\":[]}", "192.0.2.1");
}
END_TEST

/* Only a pending one needs challenges. */
START_TEST(authz_without_challenges)
{
    must_not(AUTHZ, AUTHZ_OF("pending", "", "null"), "challenges");
    ck_assert_int_eq(must(AUTHZ, AUTHZ_OF("valid", "", "null")).authz->challenges->nelts, 0);
    ck_assert_str_eq(must(AUTHZ, AUTHZ_OF("expired", "", "null")).authz->offered, "");
}
END_TEST

#define CH(type, more) \
    "{\"type\":\"" type "\",\"url\":\"https://ca.example/c\",\"status\":\"pending\"" more "}"
#define TOKEN ",\"token\":\"DGyRejmCefe7v4NfDGDKfA\""

/* What is known must be right; what is not known is named, and kept when it can be. */
static const struct {
    const char *challenges;
    int kept; /* -1: refused */
    const char *offered;
} offers[] = {
    {"[]", 0, ""},
    {"[" CH("http-01", TOKEN) "]", 1, "http-01"},
    {"[" CH("x-99", TOKEN) "," CH("http-01", TOKEN) "]", 2, "x-99 http-01"},
    {"[" CH("dns-persist-01", ",\"issuer-domain-names\":[\"ca.example\"]") "]", 1,
     "dns-persist-01"},
    {"[" CH("dns-persist-01", ",\"issuerDomainNames\":[\"ca.example\"]") "]", 1,
     "dns-persist-01"},
    {"[" CH("x-99", ",\"token\":\"short\"") "," CH("http-01", TOKEN) "]", 1, "x-99 http-01"},
    {"[" CH("x-99", ",\"error\":7") "]", 0, "x-99"},
    {"[{\"type\":\"x-99\"}]", 0, "x-99"},
    {"[{\"type\":\"x-99\",\"url\":\"http://ca.example/\",\"status\":\"pending\"}]", 0, "x-99"},
    {"[{\"type\":\"x-99\",\"url\":\"https://ca.example/\",\"status\":\"maybe\"}]", 0, "x-99"},
    {"[null,7,\"http-01\",[],{},{\"type\":7}," CH("dns-01", TOKEN) "]", 1, "dns-01"},
    {"[{\"type\":\"\\u001b[31m\"}]", 0, "?[31m"},
    {"[" CH("http-01", "") "]", 1, "http-01"},
    {"[" CH("http-01", ",\"token\":\"short\"") "]", -1, NULL},
    {"[" CH("http-01", ",\"error\":7") "]", -1, NULL},
    {"[{\"type\":\"http-01\"}]", -1, NULL},
    {"[{\"type\":\"tls-alpn-01\",\"url\":\"http://ca.example/\",\"status\":\"valid\"}]", -1, NULL},
    {"[{\"type\":\"dns-01\",\"url\":\"https://ca.example/\",\"status\":\"maybe\"}]", -1, NULL},
};

START_TEST(challenges_offered)
{
    const char *text = apr_pstrcat(pool, AUTHZ_OF("pending", "", "@"), NULL);
    const char *at = strchr(text, '@');

    text = apr_pstrcat(pool, apr_pstrmemdup(pool, text, (apr_size_t)(at - text)),
                       offers[_i].challenges, at + 1, NULL);
    if (offers[_i].kept < 0) {
        must_not(AUTHZ, text, "");
        return;
    }
    ck_assert_int_eq(must(AUTHZ, text).authz->challenges->nelts, offers[_i].kept);
    ck_assert_str_eq(must(AUTHZ, text).authz->offered, offers[_i].offered);
}
END_TEST

/* What would end the value, or the string it stands in in a zone file, is left out. */
START_TEST(persist_texts)
{
    static const char text[] = "{\"type\":\"dns-persist-01\",\"url\":\"https://ca.example/c\","
                               "\"status\":\"pending\",\"accounturi\":\"https://ca.example/\\\"\","
                               "\"issuer-domain-names\":[\"a;b\",\"a\\\"(\",\"a\\\\b\",\"a b\","
                               "\"a\\u00e4\",\"\",\"ca.example\"]}";
    acme_challenge_object_t *challenge = must(CHALLENGE, text).challenge;

    ck_assert_ptr_null(challenge->account_uri);
    ck_assert_int_eq(challenge->issuers->nelts, 1);
    ck_assert_str_eq(APR_ARRAY_IDX(challenge->issuers, 0, const char *), "ca.example");
}
END_TEST

/* Sixteen names without end do not make the text without end. */
START_TEST(offered_is_bounded)
{
    char name[4001];
    const char *item;
    acme_authz_object_t *authz;

    memset(name, 'x', 4000);
    name[4000] = '\0';
    item = apr_psprintf(pool, "{\"type\":\"%s\"}", name);
    authz = must(AUTHZ, expand(AUTHZ, templates[AUTHZ], member_of(AUTHZ, "challenges", 10),
                               many(item, 16))).authz;
    ck_assert_uint_le(strlen(authz->offered), 255);
    ck_assert_int_eq(authz->offered[0], 'x');
}
END_TEST

static const struct {
    const char *token;
    int good;
} tokens[] = {
    {"DGyRejmCefe7v4NfDGDKfA", 1},
    {"0123456789abcdef", 1},
    {"-_-_-_-_-_-_-_-_", 1},
    {"0123456789abcde", 0},
    {"", 0},
    {"0123456789abcdef=", 0},
    {"0123456789abcdef+", 0},
    {"0123456789abcdef/", 0},
    {"../../../../etc/passwd", 0},
    {"0123456789.abcdef", 0},
    {"0123456789abcdef ", 0},
    {"0123456789abcdef\\n", 0},
    {"0123456789abcdef\\u0000", 0},
    {"0123456789abcde\\u00e4", 0},
};

START_TEST(tokens_are_checked)
{
    const char *text = apr_psprintf(pool, "{\"type\":\"http-01\",\"url\":\"https://ca.example/c\","
                                    "\"status\":\"pending\",\"token\":\"%s\"}", tokens[_i].token);

    if (tokens[_i].good) {
        ck_assert_str_eq(must(CHALLENGE, text).challenge->token, tokens[_i].token);
    }
    else {
        must_not(CHALLENGE, text, "");
    }
}
END_TEST

/* RFC 8555 section 7.5.1, and what a failed one looks like. */
START_TEST(challenge_that_failed)
{
    acme_challenge_object_t *challenge
        = must(CHALLENGE, "{\"url\":\"https://ca.example/c\",\"type\":\"http-01\","
               "\"status\":\"invalid\",\"token\":\"DGyRejmCefe7v4NfDGDKfA\",\"error\":{\"type\":"
               "\"urn:ietf:params:acme:error:connection\",\"detail\":\"refused\",\"status\":400}}")
              .challenge;

    ck_assert_int_eq(challenge->status, ACME_CHALLENGE_INVALID);
    ck_assert_str_eq(challenge->error->type, "connection");
    ck_assert_str_eq(challenge->error->text, "connection: refused");
}
END_TEST

/* ---- payloads ---- */

static apr_array_header_t *strings(const char *a, const char *b, const char *c, const char *d)
{
    apr_array_header_t *list = apr_array_make(pool, 4, sizeof(const char *));
    const char *const all[] = {a, b, c, d};
    int i;

    for (i = 0; i < COUNT(all) && all[i]; i++) {
        APR_ARRAY_PUSH(list, const char *) = all[i];
    }
    return list;
}

START_TEST(payload_of_new_account)
{
    apr_array_header_t *none = strings(NULL, NULL, NULL, NULL);
    apr_array_header_t *two = strings("mailto:a@example.org", "mailto:b@example.org", NULL, NULL);
    acme_json_t *eab = acme_json_new_object(pool);

    acme_json_set_string(eab, "protected", "p");
    ck_assert_str_eq(acme_payload_new_account(NULL, 0, 0, NULL, pool), "{}");
    ck_assert_str_eq(acme_payload_new_account(none, 1, 0, NULL, pool),
                     "{\"termsOfServiceAgreed\":true}");
    ck_assert_str_eq(acme_payload_new_account(two, 1, 0, NULL, pool),
                     "{\"termsOfServiceAgreed\":true,"
                     "\"contact\":[\"mailto:a@example.org\",\"mailto:b@example.org\"]}");
    ck_assert_str_eq(acme_payload_new_account(none, 0, 1, NULL, pool),
                     "{\"onlyReturnExisting\":true}");
    ck_assert_str_eq(acme_payload_new_account(none, 0, 0, eab, pool),
                     "{\"externalAccountBinding\":{\"protected\":\"p\"}}");
    none = strings("\xff", NULL, NULL, NULL);
    ck_assert_ptr_null(acme_payload_new_account(none, 0, 0, NULL, pool));
}
END_TEST

START_TEST(payload_of_new_order)
{
    ck_assert_str_eq(acme_payload_new_order(strings("www.example.org", "*.example.org", "192.0.2.1",
                                                    "2001:db8::1"), NULL, NULL, pool),
                     "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"www.example.org\"},"
                     "{\"type\":\"dns\",\"value\":\"*.example.org\"},"
                     "{\"type\":\"ip\",\"value\":\"192.0.2.1\"},"
                     "{\"type\":\"ip\",\"value\":\"2001:db8::1\"}]}");
    ck_assert_str_eq(acme_payload_new_order(strings("example.org", NULL, NULL, NULL),
                                            "short\"lived", "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
                                            pool),
                     "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"example.org\"}],"
                     "\"profile\":\"short\\\"lived\","
                     "\"replaces\":\"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE\"}");
}
END_TEST

START_TEST(payload_of_finalize)
{
    ck_assert_str_eq(acme_payload_finalize("MIIBPTCBxAIBADBFMQ", pool),
                     "{\"csr\":\"MIIBPTCBxAIBADBFMQ\"}");
}
END_TEST

static void add_objects(TCase *tc)
{
    tcase_add_loop_test(tc, every_type_of_every_member, 0, COUNT(members));
    tcase_add_loop_test(tc, each_good_text_is_good, 0, KINDS);
    tcase_add_loop_test(tc, one_object_is_never_taken_for_another, 0, KINDS);
    tcase_add_loop_test(tc, cut_ones_are_refused, 0, KINDS);
    tcase_add_loop_test(tc, foreign_texts_are_refused, 0, COUNT(foreign));
    tcase_add_test(tc, the_first_cause_is_kept);
    tcase_add_loop_test(tc, only_https_urls, 0, COUNT(url_members));
    tcase_add_test(tc, urls_are_kept_byte_for_byte);
    tcase_add_loop_test(tc, status_words, 0, COUNT(words));
    tcase_add_loop_test(tc, identifiers_are_names, 0, COUNT(identifiers));
    tcase_add_loop_test(tc, lists_are_capped, 0, COUNT(caps));
}

Suite *message_suite(void)
{
    Suite *suite = suite_create("message");
    TCase *tc = tcase_create("message");

    tcase_add_checked_fixture(tc, setup, teardown);
    add_objects(tc);
    tcase_add_test(tc, directory_of_the_rfc);
    tcase_add_test(tc, directory_with_all);
    tcase_add_loop_test(tc, terms_are_for_people, 0, COUNT(terms));
    tcase_add_test(tc, version_one_is_told);
    tcase_add_test(tc, account_of_the_rfc);
    tcase_add_test(tc, account_of_little);
    tcase_add_test(tc, order_status_names);
    tcase_add_test(tc, order_of_the_rfc);
    tcase_add_test(tc, order_that_is_invalid);
    tcase_add_test(tc, list_of_the_rfc);
    tcase_add_test(tc, list_alone_is_no_way_in);
    tcase_add_test(tc, long_list_is_cut);
    tcase_add_test(tc, authz_of_the_rfc);
    tcase_add_test(tc, authz_of_a_wildcard);
    tcase_add_test(tc, authz_without_challenges);
    tcase_add_loop_test(tc, challenges_offered, 0, COUNT(offers));
    tcase_add_test(tc, persist_texts);
    tcase_add_test(tc, offered_is_bounded);
    tcase_add_loop_test(tc, tokens_are_checked, 0, COUNT(tokens));
    tcase_add_test(tc, challenge_that_failed);
    tcase_add_test(tc, payload_of_new_account);
    tcase_add_test(tc, payload_of_new_order);
    tcase_add_test(tc, payload_of_finalize);
    suite_add_tcase(suite, tc);
    return suite;
}
