/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "io/selfcheck.h"

#include <errno.h>
#include <string.h>

#include <apr_strings.h>

#include "crypto/digest.h"
#include "crypto/x509.h"
#include "io/tls.h"
#include "protocol/http.h"

#define ANSWER_MAX 16384
#define SHOWN 80 /* of what another server says */
#define AGENT "mod_acmeclient self-check"
#define PREFIX "/.well-known/acme-challenge/"

typedef enum { ANSWER_NONE, ANSWER_OWN, ANSWER_OTHER } answer_t;

typedef struct {
    const acme_selfcheck_t *check;
    const char *address;
    apr_socket_t *socket;
    apr_time_t deadline;
    const acme_stop_t *stop;
    apr_pool_t *pool;
} probe_t;

/* ---- http-01 ---- */

static const char *request_of(const probe_t *probe)
{
    const char *name = probe->check->name;
    const char *open = strchr(name, ':') != NULL ? "[" : "";

    return apr_pstrcat(probe->pool, "GET " PREFIX, probe->check->token, " HTTP/1.1\r\nHost: ", open,
                       name, *open != '\0' ? "]" : "", "\r\nUser-Agent: " AGENT
                       "\r\nAccept: */*\r\nConnection: close\r\n\r\n", NULL);
}

/* Reads until the header section and want bytes behind it have come, or the peer has nothing more.
 * ACME_FAIL: what came is no HTTP, err says why. */
static acme_rv_t read_answer(acme_http_response_t *response, char *body, apr_size_t want,
                             const probe_t *probe, acme_error_t *err)
{
    char data[2048];
    apr_size_t used, len, all = 0, have = 0;
    acme_rv_t rv = ACME_AGAIN;

    while (have < want && all < ANSWER_MAX) {
        len = sizeof(data);
        if (acme_net_read(probe->socket, data, &len, probe->deadline, probe->stop, err) != ACME_OK
            || len == 0) {
            break;
        }
        all += len;
        used = 0;
        if (rv == ACME_AGAIN) {
            rv = acme_http_response_feed(response, data, len, &used, err);
        }
        if (rv == ACME_FAIL) {
            return ACME_FAIL;
        }
        if (rv == ACME_OK) {
            apr_size_t n = len - used < want - have ? len - used : want - have;

            memcpy(body + have, data + used, n);
            have += n;
        }
    }
    body[have] = '\0';
    return rv == ACME_OK ? ACME_OK
                         : acme_error_set(err, ACME_E_NETWORK, NULL, "closed without an answer");
}

static const char *shown(const char *text, apr_pool_t *pool)
{
    char *out = apr_palloc(pool, SHOWN);

    return acme_printable(out, SHOWN, text, -1);
}

static const char *someone(const acme_http_response_t *response, const probe_t *probe)
{
    const char *server = acme_http_response_header(response, "server");
    const char *location = acme_http_response_header(response, "location");

    return apr_psprintf(probe->pool, "answered by someone else (status %d%s%s%s%s)",
                        acme_http_response_status(response), server != NULL ? ", Server " : "",
                        server != NULL ? shown(server, probe->pool) : "",
                        location != NULL ? ", to " : "",
                        location != NULL ? shown(location, probe->pool) : "");
}

static const char *silence(answer_t *answer, const acme_error_t *err, apr_pool_t *pool)
{
    if (err->status == APR_TIMEUP) {
        *answer = ANSWER_NONE;
        return "connected, but no answer";
    }
    *answer = ANSWER_OTHER;
    return apr_psprintf(pool, "connected, then %s", shown(err->text, pool));
}

/* A proxy may have put the body into chunks: the key authorization only has to be in it. */
static const char *probe_http(answer_t *answer, const probe_t *probe)
{
    acme_http_response_t *response = acme_http_response_create(1, 0, probe->pool);
    const char *wanted = probe->check->key_authorization;
    const char *request = request_of(probe);
    apr_size_t room = strlen(wanted) + 32;
    char *body = apr_palloc(probe->pool, room + 1);
    acme_error_t err;

    acme_error_clear(&err);
    if (acme_net_write(probe->socket, request, strlen(request), probe->deadline, probe->stop, &err)
            != ACME_OK
        || read_answer(response, body, room, probe, &err) != ACME_OK) {
        return silence(answer, &err, probe->pool);
    }
    *answer = acme_http_response_status(response) == 200 && strstr(body, wanted) != NULL
                  ? ANSWER_OWN : ANSWER_OTHER;
    return *answer == ANSWER_OWN ? "own answer" : someone(response, probe);
}

/* ---- tls-alpn-01, tls-sni-01 ---- */

/* The very certificate that stands on the board. */
static int is_ours(const acme_tls_look_t *look, const acme_selfcheck_t *check)
{
    acme_board_challenge_t challenge;
    int side, ours = 0;

    if (acme_board_challenge_by_sni(&challenge, check->board, check->type, look->sni,
                                    apr_time_now()) != ACME_OK) {
        return 0;
    }
    for (side = 0; side < 2; side++) {
        ours |= challenge.cert_len[side] > 0 && challenge.cert_len[side] == look->leaf_len
                && memcmp(challenge.cert[side], look->leaf, look->leaf_len) == 0;
    }
    acme_cleanse(&challenge, sizeof(challenge));
    return ours;
}

static const char *stranger(const acme_tls_look_t *look, apr_pool_t *pool)
{
    acme_chain_t *chain;
    acme_leaf_t leaf;

    if (acme_chain_from_der(&chain, &look->leaf, &look->leaf_len, 1, pool, NULL) != ACME_OK
        || acme_chain_leaf(&leaf, chain, pool, NULL) != ACME_OK) {
        return "answered by someone else (a strange certificate)";
    }
    return apr_psprintf(pool, "answered by someone else (certificate of %s, issuer %s)",
                        leaf.names->nelts > 0 ? shown(APR_ARRAY_IDX(leaf.names, 0, const char *),
                                                      pool) : "no name",
                        shown(leaf.issuer, pool));
}

static const char *probe_tls(answer_t *answer, const probe_t *probe)
{
    const acme_selfcheck_t *check = probe->check;
    acme_tls_look_t look;
    acme_error_t err;

    memset(&look, 0, sizeof(look));
    acme_error_clear(&err);
    if (check->type == ACME_CH_TLSALPN01) {
        look.sni = acme_challenge_alpn_name(check->name, probe->pool);
        look.alpn = "acme-tls/1";
    }
    else {
        look.sni = acme_challenge_sni_name(check->key_authorization, probe->pool);
    }
    if (acme_tls_look(&look, probe->socket, probe->deadline, probe->stop, probe->pool, &err)
        != ACME_OK) {
        return silence(answer, &err, probe->pool);
    }
    *answer = (look.alpn == NULL || look.alpn_chosen) && is_ours(&look, check) ? ANSWER_OWN
                                                                               : ANSWER_OTHER;
    return *answer == ANSWER_OWN ? "own answer" : stranger(&look, probe->pool);
}

/* ---- one address ---- */

static const char *not_connected(const acme_error_t *err, apr_pool_t *pool)
{
    char text[120];

    switch (err->status) {
    case ECONNREFUSED:
        return "refused";
    case ETIMEDOUT:
        return "timed out";
    case ENETUNREACH:
    case EHOSTUNREACH:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return "unreachable from here";
    }
    return apr_pstrdup(pool, apr_strerror(err->status, text, sizeof(text)));
}

/* Is it still to be answered? */
static int stands(const acme_selfcheck_t *check, apr_pool_t *pool)
{
    acme_board_challenge_t challenge;
    apr_time_t now = apr_time_now();
    const char *sni = check->type == ACME_CH_TLSALPN01
                          ? acme_challenge_alpn_name(check->name, pool)
                          : acme_challenge_sni_name(check->key_authorization, pool);
    acme_rv_t rv = check->type == ACME_CH_HTTP01
                       ? acme_board_challenge_by_token(&challenge, check->board, check->token,
                                                       strlen(check->token), now)
                       : acme_board_challenge_by_sni(&challenge, check->board, check->type, sni,
                                                     now);

    acme_cleanse(&challenge, sizeof(challenge));
    return rv == ACME_OK;
}

static int is_v6(const char *address)
{
    return strchr(address, ':') != NULL;
}

static const char *try_address(acme_selfcheck_result_t *out, probe_t *probe)
{
    const acme_selfcheck_t *check = probe->check;
    int port = acme_net_is_own(probe->address) ? check->mapped : check->port;
    const char *said;
    acme_error_t err;
    answer_t answer = ANSWER_NONE;

    acme_error_clear(&err);
    if (acme_net_connect(&probe->socket, probe->address, (apr_port_t)port, probe->deadline,
                         probe->stop, probe->pool, &err) != ACME_OK) {
        return not_connected(&err, probe->pool);
    }
    out->connected++;
    said = check->type == ACME_CH_HTTP01 ? probe_http(&answer, probe)
                                          : probe_tls(&answer, probe);
    if (answer == ANSWER_OWN) {
        acme_board_arrival_own(check->board, check->row, check->type, is_v6(probe->address));
    }
    return answer != ANSWER_OTHER || stands(check, probe->pool)
               ? said : "answered, but the challenge was over by then";
}

static void note(acme_selfcheck_result_t *out, const char *address, const char *said)
{
    apr_size_t used = strlen(out->text);
    acme_name_kind_t kind = is_v6(address) ? ACME_NAME_IP6 : ACME_NAME_IP4;

    apr_snprintf(out->text + used, sizeof(out->text) - used, "%s%s: %s", used > 0 ? ", " : "",
                 address, said);
    out->addresses++;
    out->outside += acme_name_uncertifiable(address, kind, 1) == NULL;
}

acme_rv_t acme_selfcheck_run(acme_selfcheck_result_t *out, const acme_selfcheck_t *check,
                             apr_time_t deadline, const acme_stop_t *stop, apr_pool_t *pool)
{
    apr_array_header_t *addresses;
    acme_error_t err;
    probe_t probe;
    int i, n;

    memset(out, 0, sizeof(*out));
    acme_error_clear(&err);
    if (acme_net_addresses(&addresses, check->name, deadline, stop, pool, &err) != ACME_OK) {
        apr_cpystrn(out->text, err.text, sizeof(out->text));
    }
    n = addresses->nelts < ACME_SELFCHECK_ADDRESSES ? addresses->nelts : ACME_SELFCHECK_ADDRESSES;
    for (i = 0; i < n && !acme_stopped(stop); i++) {
        apr_time_t now = acme_net_now();

        memset(&probe, 0, sizeof(probe));
        probe.check = check;
        probe.address = APR_ARRAY_IDX(addresses, i, const char *);
        probe.deadline = now + (deadline > now ? (deadline - now) / (n - i) : 0);
        probe.stop = stop;
        apr_pool_create(&probe.pool, pool);
        note(out, probe.address, try_address(out, &probe));
        apr_pool_destroy(probe.pool);
    }
    return acme_stopped(stop) ? ACME_FAIL : ACME_OK;
}

const char *acme_selfcheck_doubt(const acme_selfcheck_result_t *result,
                                 const acme_board_arrivals_t *seen)
{
    if (result->addresses > 0 && result->connected == 0 && seen->v4 + seen->v6 > 0) {
        return " (inconclusive: the CA's requests do arrive, this machine cannot reach itself by "
               "these addresses)";
    }
    if (result->addresses > 0 && result->outside == 0) {
        return " (inconclusive: private addresses, the CA sees others or none)";
    }
    return "";
}
