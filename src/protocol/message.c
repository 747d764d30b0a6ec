/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include "protocol/message.h"

#include <string.h>

#include <apr_strings.h>

#include "base/idn.h"
#include "base/name.h"
#include "base/time.h"
#include "protocol/challenge.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define LIST_MAX 1000     /* identifiers, authorizations, contacts of one object */
#define ORDERS_MAX 2000   /* of an account's list: those behind them are left out */
#define ISSUERS_MAX 10
#define ISSUE_MAX 400     /* an issuer domain name or account URI that is to be published */
#define SHOWN_SIZE 80     /* a foreign word in an error */
#define TEXT_SIZE 1025    /* of the directory's meta: shown, never fetched */
#define OFFERED_SIZE 256

/* An object that is being read: where values come from, where they and errors go. */
typedef struct {
    acme_json_t *json;
    const char *what;
    apr_pool_t *pool;
    acme_error_t *err;
} doc_t;

/* ---- members ---- */

static acme_rv_t begin(doc_t *doc, const char *what, const char *text, apr_size_t len)
{
    doc->what = what;
    return acme_json_parse(&doc->json, text, len, what, doc->pool, doc->err);
}

static acme_rv_t check_url(const char **out, const doc_t *doc, const char *key, const char *text)
{
    acme_error_t cause;
    acme_url_t *url;

    acme_error_clear(&cause);
    if (acme_url_parse(&url, text, doc->pool, &cause) != ACME_OK) {
        return acme_error_set(doc->err, ACME_E_PROTOCOL, "AC0321", "%s: \"%s\": %s", doc->what, key,
                              cause.text);
    }
    *out = url->text;
    return ACME_OK;
}

static acme_rv_t get_url(const char **out, const doc_t *doc, const char *key, acme_json_need_t need)
{
    const char *text;

    *out = NULL;
    if (acme_json_get_string(&text, doc->json, key, need, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    return text != NULL ? check_url(out, doc, key, text) : ACME_OK;
}

/* The place of the status word in words[0..n). */
static acme_rv_t get_status(int *out, const doc_t *doc, const char *const *words, int n)
{
    char shown[SHOWN_SIZE];
    const char *word;
    int i;

    if (acme_json_get_string(&word, doc->json, "status", ACME_JSON_REQUIRED, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    for (i = 0; i < n; i++) {
        if (strcmp(words[i], word) == 0) {
            *out = i;
            return ACME_OK;
        }
    }
    return acme_error_set(doc->err, ACME_E_PROTOCOL, "AC0322", "%s: unknown status \"%s\"",
                          doc->what, acme_printable(shown, sizeof(shown), word, -1));
}

/* What is no time counts as absent: nothing but patience depends on it. */
static acme_rv_t get_expires(apr_time_t *out, const doc_t *doc)
{
    const char *text;

    *out = 0;
    if (acme_json_get_string(&text, doc->json, "expires", ACME_JSON_OPTIONAL, doc->err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    if (text != NULL && acme_time_parse_rfc3339(out, text, strlen(text)) != ACME_OK) {
        *out = 0;
    }
    return ACME_OK;
}

static acme_rv_t get_problem(acme_problem_t **out, const doc_t *doc)
{
    acme_json_t *json;

    *out = NULL;
    if (acme_json_get_object(&json, doc->json, "error", ACME_JSON_OPTIONAL, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (json != NULL) {
        *out = acme_problem_from_json(json, doc->pool);
    }
    return ACME_OK;
}

/* ---- lists ---- */

/* *list: NULL when it is absent. */
static acme_rv_t get_list(acme_json_t **list, const doc_t *doc, const char *key,
                          acme_json_need_t need, int max)
{
    if (acme_json_get_array(list, doc->json, key, need, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (acme_json_count(*list) > (apr_size_t)max) {
        return acme_error_set(doc->err, ACME_E_PROTOCOL, "AC0323",
                              "%s: \"%s\" has %" APR_SIZE_T_FMT " items, more than %d", doc->what,
                              key, acme_json_count(*list), max);
    }
    return ACME_OK;
}

static acme_rv_t wrong_item(const doc_t *doc, const char *key, apr_size_t i, const char *wanted)
{
    return acme_error_set(doc->err, ACME_E_PROTOCOL, "AC0324",
                          "%s: item %" APR_SIZE_T_FMT " of \"%s\" is not %s", doc->what, i, key,
                          wanted);
}

/* Strings, or with urls set URLs; empty when absent. */
static acme_rv_t get_strings(apr_array_header_t **out, const doc_t *doc, const char *key, int urls)
{
    const char *text;
    acme_json_t *list;
    apr_size_t i;

    if (get_list(&list, doc, key, ACME_JSON_OPTIONAL, LIST_MAX) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = apr_array_make(doc->pool, (int)acme_json_count(list), sizeof(const char *));
    for (i = 0; i < acme_json_count(list); i++) {
        if (acme_json_item_string(&text, list, i, NULL) != ACME_OK) {
            return wrong_item(doc, key, i, "a string");
        }
        if (urls && check_url(&text, doc, key, text) != ACME_OK) {
            return ACME_FAIL;
        }
        APR_ARRAY_PUSH(*out, const char *) = text;
    }
    return ACME_OK;
}

/* ---- directory ---- */

/* For people only: a CA may well name its terms by a data: or http: URL. */
static acme_rv_t get_text(const char **out, const doc_t *doc, const char *key)
{
    const char *text;
    apr_size_t size;
    char *shown;

    *out = NULL;
    if (acme_json_get_string(&text, doc->json, key, ACME_JSON_OPTIONAL, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (text == NULL || *text == '\0') {
        return ACME_OK;
    }
    size = strlen(text) + 1;
    size = size < TEXT_SIZE ? size : TEXT_SIZE;
    shown = apr_palloc(doc->pool, size);
    *out = acme_printable(shown, size, text, -1);
    return ACME_OK;
}

static acme_rv_t get_profiles(apr_array_header_t *names, const doc_t *meta)
{
    acme_json_t *profiles;
    const char *name;
    apr_size_t i;

    if (acme_json_get_object(&profiles, meta->json, "profiles", ACME_JSON_OPTIONAL, meta->err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    if (profiles == NULL) {
        return ACME_OK;
    }
    for (i = 0, name = acme_json_key_at(profiles, i); name != NULL;
         name = acme_json_key_at(profiles, ++i)) {
        APR_ARRAY_PUSH(names, const char *) = apr_pstrdup(meta->pool, name);
    }
    return ACME_OK;
}

static acme_rv_t get_meta(acme_directory_t *directory, const doc_t *doc)
{
    doc_t meta = *doc;

    directory->profiles = apr_array_make(doc->pool, 0, sizeof(const char *));
    if (acme_json_get_object(&meta.json, doc->json, "meta", ACME_JSON_OPTIONAL, doc->err)
        != ACME_OK) {
        return ACME_FAIL;
    }
    if (meta.json == NULL) {
        return ACME_OK;
    }
    if (get_text(&directory->terms_of_service, &meta, "termsOfService") != ACME_OK
        || get_text(&directory->website, &meta, "website") != ACME_OK
        || acme_json_get_bool(&directory->external_account_required, meta.json,
                              "externalAccountRequired", 0, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    return get_profiles(directory->profiles, &meta);
}

static int has_key(const acme_json_t *json, const char *key)
{
    const char *name = acme_json_key_at(json, 0);
    apr_size_t i = 0;

    while (name != NULL && strcmp(name, key) != 0) {
        name = acme_json_key_at(json, ++i);
    }
    return name != NULL;
}

static acme_rv_t version_one(acme_error_t *err)
{
    int first = err != NULL && err->kind == ACME_E_NONE;

    (void)acme_error_set(err, ACME_E_PROTOCOL, "AC0325",
                         "directory: this is ACME version 1 (\"new-reg\"), which was never a "
                         "standard; the directory of RFC 8555 has another URL");
    if (first) {
        err->retry = ACME_RETRY_HUMAN;
    }
    return ACME_FAIL;
}

acme_rv_t acme_directory_parse(acme_directory_t **out, const char *text, apr_size_t len,
                               apr_pool_t *pool, acme_error_t *err)
{
    acme_directory_t *directory = apr_pcalloc(pool, sizeof(*directory));
    doc_t doc = {NULL, NULL, pool, err};

    if (begin(&doc, "directory", text, len) != ACME_OK) {
        return ACME_FAIL;
    }
    if (has_key(doc.json, "new-reg") && !has_key(doc.json, "newAccount")) {
        return version_one(err);
    }
    if (get_url(&directory->new_nonce, &doc, "newNonce", ACME_JSON_REQUIRED) != ACME_OK
        || get_url(&directory->new_account, &doc, "newAccount", ACME_JSON_REQUIRED) != ACME_OK
        || get_url(&directory->new_order, &doc, "newOrder", ACME_JSON_REQUIRED) != ACME_OK
        || get_url(&directory->revoke_cert, &doc, "revokeCert", ACME_JSON_OPTIONAL) != ACME_OK
        || get_url(&directory->key_change, &doc, "keyChange", ACME_JSON_OPTIONAL) != ACME_OK
        || get_url(&directory->renewal_info, &doc, "renewalInfo", ACME_JSON_OPTIONAL) != ACME_OK
        || get_meta(directory, &doc) != ACME_OK) {
        return ACME_FAIL;
    }
    directory->text = apr_pstrmemdup(pool, text, len);
    *out = directory;
    return ACME_OK;
}

/* ---- account ---- */

static const char *const account_words[] = {
    [ACME_ACCOUNT_VALID] = "valid",
    [ACME_ACCOUNT_DEACTIVATED] = "deactivated",
    [ACME_ACCOUNT_REVOKED] = "revoked",
};

acme_rv_t acme_account_parse(acme_account_t **out, const char *text, apr_size_t len,
                             apr_pool_t *pool, acme_error_t *err)
{
    acme_account_t *account = apr_pcalloc(pool, sizeof(*account));
    doc_t doc = {NULL, NULL, pool, err};
    int status;

    if (begin(&doc, "account", text, len) != ACME_OK
        || get_status(&status, &doc, account_words, COUNT(account_words)) != ACME_OK
        || get_url(&account->orders, &doc, "orders", ACME_JSON_OPTIONAL) != ACME_OK
        || get_strings(&account->contact, &doc, "contact", 0) != ACME_OK) {
        return ACME_FAIL;
    }
    account->status = (acme_account_status_t)status;
    *out = account;
    return ACME_OK;
}

/* ---- identifiers ---- */

/* RFC 8555 section 9.7.7, RFC 8738 section 3. */
static acme_rv_t get_identifier(const char **name, acme_name_kind_t *kind, const doc_t *id)
{
    char shown[SHOWN_SIZE];
    const char *type, *value;
    acme_error_t cause;
    int ip;

    if (acme_json_get_string(&type, id->json, "type", ACME_JSON_REQUIRED, id->err) != ACME_OK
        || acme_json_get_string(&value, id->json, "value", ACME_JSON_REQUIRED, id->err)
               != ACME_OK) {
        return ACME_FAIL;
    }
    ip = strcmp(type, "ip") == 0;
    if (!ip && strcmp(type, "dns") != 0) {
        return acme_error_set(id->err, ACME_E_PROTOCOL, "AC0326",
                              "%s: identifier of unknown type \"%s\"", id->what,
                              acme_printable(shown, sizeof(shown), type, -1));
    }
    acme_error_clear(&cause);
    if (!acme_idn_is_ascii(value)) {
        value = "?"; /* section 7.1.4: A-labels */
    }
    if (acme_name_normalize(name, kind, value, id->pool, &cause) != ACME_OK) {
        return acme_error_set(id->err, ACME_E_PROTOCOL, "AC0327", "%s: identifier: %s", id->what,
                              cause.text);
    }
    if (ip != (*kind == ACME_NAME_IP4 || *kind == ACME_NAME_IP6)) {
        return acme_error_set(id->err, ACME_E_PROTOCOL, "AC0328",
                              "%s: identifier \"%s\" is not of type %s", id->what, *name, type);
    }
    return ACME_OK;
}

static acme_rv_t get_names(apr_array_header_t **names, const doc_t *doc)
{
    doc_t id = *doc;
    acme_name_kind_t kind;
    acme_json_t *list;
    const char *name;
    apr_size_t i;

    if (get_list(&list, doc, "identifiers", ACME_JSON_REQUIRED, LIST_MAX) != ACME_OK) {
        return ACME_FAIL;
    }
    *names = apr_array_make(doc->pool, (int)acme_json_count(list), sizeof(const char *));
    for (i = 0; i < acme_json_count(list); i++) {
        if (acme_json_item_object(&id.json, list, i, NULL) != ACME_OK) {
            return wrong_item(doc, "identifiers", i, "an object");
        }
        if (get_identifier(&name, &kind, &id) != ACME_OK) {
            return ACME_FAIL;
        }
        APR_ARRAY_PUSH(*names, const char *) = name;
    }
    return ACME_OK;
}

/* ---- order ---- */

static const char *const order_words[] = {
    [ACME_ORDER_PENDING] = "pending",       [ACME_ORDER_READY] = "ready",
    [ACME_ORDER_PROCESSING] = "processing", [ACME_ORDER_VALID] = "valid",
    [ACME_ORDER_INVALID] = "invalid",
};

const char *acme_order_status_name(acme_order_status_t status)
{
    return (unsigned)status < COUNT(order_words) ? order_words[status] : "unknown";
}

acme_rv_t acme_order_parse(acme_order_object_t **out, const char *text, apr_size_t len,
                           apr_pool_t *pool, acme_error_t *err)
{
    acme_order_object_t *order = apr_pcalloc(pool, sizeof(*order));
    doc_t doc = {NULL, NULL, pool, err};
    int status;

    if (begin(&doc, "order", text, len) != ACME_OK
        || get_status(&status, &doc, order_words, COUNT(order_words)) != ACME_OK) {
        return ACME_FAIL;
    }
    order->status = (acme_order_status_t)status;
    if (get_expires(&order->expires, &doc) != ACME_OK
        || get_names(&order->names, &doc) != ACME_OK
        || get_strings(&order->authorizations, &doc, "authorizations", 1) != ACME_OK
        || get_url(&order->finalize, &doc, "finalize",
                   order->status == ACME_ORDER_INVALID ? ACME_JSON_OPTIONAL : ACME_JSON_REQUIRED)
               != ACME_OK
        || get_url(&order->certificate, &doc, "certificate", ACME_JSON_OPTIONAL) != ACME_OK
        || get_problem(&order->error, &doc) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = order;
    return ACME_OK;
}

/* step-ca sends the array alone. */
static const char *list_text(const char *text, apr_size_t *len, apr_pool_t *pool)
{
    static const char head[] = "{\"orders\":";
    apr_size_t head_len = sizeof(head) - 1;
    apr_size_t i = 0;
    char *all;

    while (i < *len && (text[i] == ' ' || text[i] == '\n' || text[i] == '\r' || text[i] == '\t')) {
        i++;
    }
    if (i == *len || text[i] != '[') {
        return text;
    }
    all = apr_palloc(pool, head_len + *len + 1);
    memcpy(all, head, head_len);
    memcpy(all + head_len, text, *len);
    all[head_len + *len] = '}';
    *len += head_len + 1;
    return all;
}

acme_rv_t acme_order_list_parse(apr_array_header_t **urls, const char *text, apr_size_t len,
                                apr_pool_t *pool, acme_error_t *err)
{
    const char *whole = list_text(text, &len, pool);
    doc_t doc = {NULL, NULL, pool, err};
    apr_array_header_t *array;
    acme_json_t *list;
    const char *url;
    apr_size_t i;

    if (begin(&doc, "list of orders", whole, len) != ACME_OK) {
        return ACME_FAIL;
    }
    if (whole != text && acme_json_key_at(doc.json, 1) != NULL) {
        return acme_error_set(err, ACME_E_PROTOCOL, "AC0331", "%s: more than an array", doc.what);
    }
    if (acme_json_get_array(&list, doc.json, "orders", ACME_JSON_REQUIRED, err) != ACME_OK) {
        return ACME_FAIL;
    }
    array = apr_array_make(pool, 8, sizeof(const char *));
    for (i = 0; i < acme_json_count(list) && i < ORDERS_MAX; i++) {
        if (acme_json_item_string(&url, list, i, NULL) != ACME_OK) {
            return wrong_item(&doc, "orders", i, "a string");
        }
        if (check_url(&url, &doc, "orders", url) != ACME_OK) {
            return ACME_FAIL;
        }
        APR_ARRAY_PUSH(array, const char *) = url;
    }
    *urls = array;
    return ACME_OK;
}

/* ---- challenge ---- */

static const char *const challenge_words[] = {
    [ACME_CHALLENGE_PENDING] = "pending",
    [ACME_CHALLENGE_PROCESSING] = "processing",
    [ACME_CHALLENGE_VALID] = "valid",
    [ACME_CHALLENGE_INVALID] = "invalid",
};

static acme_rv_t get_token(const char **out, const doc_t *doc)
{
    char shown[SHOWN_SIZE];

    if (acme_json_get_string(out, doc->json, "token", ACME_JSON_OPTIONAL, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (*out != NULL && !acme_token_legal(*out, strlen(*out))) {
        return acme_error_set(doc->err, ACME_E_PROTOCOL, "AC0329",
                              "%s: \"%s\" cannot be a token", doc->what,
                              acme_printable(shown, sizeof(shown), *out, -1));
    }
    return ACME_OK;
}

static int is_persist(const char *text)
{
    acme_challenge_type_t type;

    return acme_challenge_type_parse(&type, text) == ACME_OK && type == ACME_CH_DNSPERSIST01;
}

/* What may stand in an issue-value (RFC 8659 section 4.2) without ending it; people copy it into
 * zone files, between quotation marks. */
static int issue_text(const char *text)
{
    const char *c;

    for (c = text; *c != '\0'; c++) {
        if (*c < 0x21 || *c > 0x7e || strchr(";\"\\", *c) != NULL) {
            return 0;
        }
    }
    return c > text && c - text <= ISSUE_MAX;
}

/* The drafts of dns-persist-01 spell the member in two ways, and change. What cannot be published
 * is left out. */
static void get_persist(acme_challenge_object_t *challenge, const doc_t *doc)
{
    static const char *const spelled[] = {"issuer-domain-names", "issuerDomainNames"};
    const char *text = NULL;
    acme_json_t *list;
    apr_size_t i, k;

    (void)acme_json_get_string(&text, doc->json, "accounturi", ACME_JSON_OPTIONAL, NULL);
    challenge->account_uri = text != NULL && issue_text(text) ? text : NULL;
    for (k = 0; k < COUNT(spelled); k++) {
        list = NULL;
        (void)acme_json_get_array(&list, doc->json, spelled[k], ACME_JSON_OPTIONAL, NULL);
        for (i = 0; list != NULL && i < acme_json_count(list); i++) {
            if (challenge->issuers->nelts < ISSUERS_MAX
                && acme_json_item_string(&text, list, i, NULL) == ACME_OK && issue_text(text)) {
                APR_ARRAY_PUSH(challenge->issuers, const char *) = text;
            }
        }
    }
}

static acme_rv_t get_challenge(acme_challenge_object_t **out, const doc_t *doc)
{
    acme_challenge_object_t *challenge = apr_pcalloc(doc->pool, sizeof(*challenge));
    int status;

    if (acme_json_get_string(&challenge->type, doc->json, "type", ACME_JSON_REQUIRED, doc->err)
            != ACME_OK
        || get_url(&challenge->url, doc, "url", ACME_JSON_REQUIRED) != ACME_OK
        || get_status(&status, doc, challenge_words, COUNT(challenge_words)) != ACME_OK
        || (!is_persist(challenge->type) && get_token(&challenge->token, doc) != ACME_OK)
        || get_problem(&challenge->error, doc) != ACME_OK) {
        return ACME_FAIL;
    }
    challenge->issuers = apr_array_make(doc->pool, 0, sizeof(const char *));
    if (is_persist(challenge->type)) {
        get_persist(challenge, doc);
    }
    challenge->status = (acme_challenge_status_t)status;
    *out = challenge;
    return ACME_OK;
}

acme_rv_t acme_challenge_parse(acme_challenge_object_t **out, const char *text, apr_size_t len,
                               apr_pool_t *pool, acme_error_t *err)
{
    doc_t doc = {NULL, NULL, pool, err};

    if (begin(&doc, "challenge", text, len) != ACME_OK) {
        return ACME_FAIL;
    }
    return get_challenge(out, &doc);
}

/* ---- authorization ---- */

static const char *const authz_words[] = {
    [ACME_AUTHZ_PENDING] = "pending", [ACME_AUTHZ_VALID] = "valid",
    [ACME_AUTHZ_INVALID] = "invalid", [ACME_AUTHZ_DEACTIVATED] = "deactivated",
    [ACME_AUTHZ_EXPIRED] = "expired", [ACME_AUTHZ_REVOKED] = "revoked",
};

static acme_rv_t get_authz_name(acme_authz_object_t *authz, const doc_t *doc)
{
    doc_t id = *doc;
    acme_name_kind_t kind;

    if (acme_json_get_object(&id.json, doc->json, "identifier", ACME_JSON_REQUIRED, doc->err)
            != ACME_OK
        || get_identifier(&authz->name, &kind, &id) != ACME_OK
        || acme_json_get_bool(&authz->wildcard, doc->json, "wildcard", 0, doc->err) != ACME_OK) {
        return ACME_FAIL;
    }
    if (kind == ACME_NAME_WILDCARD || (authz->wildcard && kind != ACME_NAME_DNS)) {
        return acme_error_set(doc->err, ACME_E_PROTOCOL, "AC0330",
                              "%s: \"%s\" is not what a wildcard can stand for", doc->what,
                              authz->name);
    }
    return ACME_OK;
}

/* What this client knows must be right; what it does not know may look like anything. */
static acme_rv_t add_challenge(acme_authz_object_t *authz, char *offered, const doc_t *doc)
{
    acme_challenge_object_t *challenge;
    acme_challenge_type_t known;
    apr_size_t used = strlen(offered);
    doc_t lenient = *doc;
    const char *type;
    acme_rv_t rv;

    if (acme_json_get_string(&type, doc->json, "type", ACME_JSON_REQUIRED, NULL) != ACME_OK) {
        return ACME_OK;
    }
    if (used > 0 && used + 1 < OFFERED_SIZE) {
        offered[used++] = ' ';
    }
    acme_printable(offered + used, OFFERED_SIZE - used, type, -1);
    lenient.err = NULL;
    if (acme_challenge_type_parse(&known, type) == ACME_OK) {
        rv = get_challenge(&challenge, doc);
        if (rv != ACME_OK) {
            return rv;
        }
    }
    else if (get_challenge(&challenge, &lenient) != ACME_OK) {
        return ACME_OK;
    }
    APR_ARRAY_PUSH(authz->challenges, acme_challenge_object_t *) = challenge;
    return ACME_OK;
}

static acme_rv_t get_challenges(acme_authz_object_t *authz, const doc_t *doc)
{
    char *offered = apr_pcalloc(doc->pool, OFFERED_SIZE);
    doc_t item = *doc;
    acme_json_t *list;
    apr_size_t i;

    if (get_list(&list, doc, "challenges",
                 authz->status == ACME_AUTHZ_PENDING ? ACME_JSON_REQUIRED : ACME_JSON_OPTIONAL,
                 ACME_AUTHZ_CHALLENGES_MAX) != ACME_OK) {
        return ACME_FAIL;
    }
    authz->challenges
        = apr_array_make(doc->pool, ACME_AUTHZ_CHALLENGES_MAX, sizeof(acme_challenge_object_t *));
    authz->offered = offered;
    for (i = 0; i < acme_json_count(list); i++) {
        if (acme_json_item_object(&item.json, list, i, NULL) == ACME_OK
            && add_challenge(authz, offered, &item) != ACME_OK) {
            return ACME_FAIL;
        }
    }
    return ACME_OK;
}

acme_rv_t acme_authz_parse(acme_authz_object_t **out, const char *text, apr_size_t len,
                           apr_pool_t *pool, acme_error_t *err)
{
    acme_authz_object_t *authz = apr_pcalloc(pool, sizeof(*authz));
    doc_t doc = {NULL, NULL, pool, err};
    int status;

    if (begin(&doc, "authorization", text, len) != ACME_OK
        || get_status(&status, &doc, authz_words, COUNT(authz_words)) != ACME_OK) {
        return ACME_FAIL;
    }
    authz->status = (acme_authz_status_t)status;
    if (get_authz_name(authz, &doc) != ACME_OK || get_expires(&authz->expires, &doc) != ACME_OK
        || get_challenges(authz, &doc) != ACME_OK) {
        return ACME_FAIL;
    }
    *out = authz;
    return ACME_OK;
}

/* ---- payloads ---- */

const char *acme_payload_new_account(const apr_array_header_t *contacts, int terms_agreed,
                                     int only_existing, acme_json_t *eab, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    if (terms_agreed) {
        acme_json_set_bool(json, "termsOfServiceAgreed", 1);
    }
    for (i = 0; contacts != NULL && i < contacts->nelts; i++) {
        acme_json_add_string(list, APR_ARRAY_IDX(contacts, i, const char *));
    }
    if (i > 0) {
        acme_json_set(json, "contact", list);
    }
    if (only_existing) {
        acme_json_set_bool(json, "onlyReturnExisting", 1);
    }
    if (eab != NULL) {
        acme_json_set(json, "externalAccountBinding", eab);
    }
    return acme_json_dump(json, pool);
}

static const char *identifier_type(const char *name)
{
    switch (acme_name_kind(name)) {
    case ACME_NAME_DNS:
    case ACME_NAME_WILDCARD:
        break;
    case ACME_NAME_IP4:
    case ACME_NAME_IP6:
        return "ip";
    }
    return "dns";
}

const char *acme_payload_new_order(const apr_array_header_t *names, const char *profile,
                                   const char *replaces, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);
    acme_json_t *list = acme_json_new_array(pool);
    int i;

    for (i = 0; i < names->nelts; i++) {
        const char *name = APR_ARRAY_IDX(names, i, const char *);
        acme_json_t *id = acme_json_new_object(pool);

        acme_json_set_string(id, "type", identifier_type(name));
        acme_json_set_string(id, "value", name);
        acme_json_add(list, id);
    }
    acme_json_set(json, "identifiers", list);
    if (profile != NULL) {
        acme_json_set_string(json, "profile", profile);
    }
    if (replaces != NULL) {
        acme_json_set_string(json, "replaces", replaces);
    }
    return acme_json_dump(json, pool);
}

const char *acme_payload_finalize(const char *csr_base64url, apr_pool_t *pool)
{
    acme_json_t *json = acme_json_new_object(pool);

    acme_json_set_string(json, "csr", csr_base64url);
    return acme_json_dump(json, pool);
}
