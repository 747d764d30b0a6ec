/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The floor: the least an RFC 8555 client has to do for one certificate, with nothing of a server
 * around it. One keep-alive connection, one nonce after the other, an ES256 account, http-01
 * answered by a thread, a P-256 key. No recovery from anything: it ends with a message.
 *
 *   floor -p PORT -c CA.pem -h HTTP-PORT -a ACCOUNT -n NAME [-w MS]
 *
 * ACCOUNT is a file with the account's key and URL; it is made when it is missing. -w: milliseconds
 * between polls, default 1. Prints one JSON object: total_ms from the beginning of main() to the
 * certificate, requests, polls. */

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#define ROOM 65536

static struct {
    int port, http_port, requests, polls, status;
    long wait_ms;
    SSL *ssl;
    EVP_PKEY *key;
    char jwk[256], thumbprint[64], kid[512], nonce[256], location[512];
    char reply[ROOM];
    char *body;
} floor_;

static void die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    ERR_print_errors_fp(stderr);
    exit(1);
}

/* Digits, to the first other character. */
static long number(const char *text, int base)
{
    static const char digits[] = "0123456789abcdef";
    const char *digit;
    long n = 0;

    for (; *text && (digit = memchr(digits, *text, (size_t)base)) != NULL; text++) {
        n = n * base + (digit - digits);
    }
    return n;
}

static double now_ms(void)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

/* base64url without padding; the result is for the caller to free. */
static char *base64url(const void *data, size_t len)
{
    char *text = malloc(len * 4 / 3 + 8), *at;
    int n = EVP_EncodeBlock((unsigned char *)text, data, (int)len);

    while (n > 0 && text[n - 1] == '=') {
        n--;
    }
    text[n] = '\0';
    for (at = text; *at; at++) {
        *at = *at == '+' ? '-' : *at == '/' ? '_' : *at;
    }
    return text;
}

/* ---- the connection ---- */

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void open_connection(const char *ca_file)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    struct sockaddr_in address = loopback(floor_.port);
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;

    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(ctx, ca_file, NULL) != 1) {
        die("%s: no trust anchors", ca_file);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0) {
        die("cannot connect to port %d", floor_.port);
    }
    floor_.ssl = SSL_new(ctx);
    SSL_set_fd(floor_.ssl, fd);
    SSL_set_tlsext_host_name(floor_.ssl, "localhost");
    SSL_set1_host(floor_.ssl, "localhost");
    if (SSL_connect(floor_.ssl) != 1) {
        die("TLS with the CA failed");
    }
}

static const char *header(const char *name)
{
    size_t len = strlen(name);
    const char *line;

    for (line = strstr(floor_.reply, "\r\n"); line && line + 2 < floor_.body;
         line = strstr(line + 2, "\r\n")) {
        if (strncasecmp(line + 2, name, len) == 0 && line[2 + len] == ':') {
            line += 3 + len;
            return line + strspn(line, " ");
        }
    }
    return NULL;
}

static void keep_header(char *to, size_t room, const char *name)
{
    const char *value = header(name);

    to[0] = '\0';
    if (value) {
        snprintf(to, room, "%.*s", (int)strcspn(value, "\r"), value);
    }
}

/* All chunks, one after the other, in place. */
static void join_chunks(char *body)
{
    char *from = body, *to = body;
    long size;

    for (size = number(from, 16); size > 0; size = number(from, 16)) {
        from = strstr(from, "\r\n") + 2;
        memmove(to, from, (size_t)size);
        to += size;
        from += size + 2;
    }
    *to = '\0';
}

/* Is the body complete? *chunked tells how it is delimited. */
static int complete(size_t have, int has_body, int *chunked)
{
    const char *length = header("Content-Length"), *end = floor_.reply + have;

    *chunked = has_body && header("Transfer-Encoding") != NULL;
    if (*chunked) {
        return have >= 5 && strcmp(end - 5, "0\r\n\r\n") == 0;
    }
    return !has_body || !length || end - floor_.body >= number(length, 10);
}

static void read_reply(int has_body)
{
    size_t have = 0;
    int chunked = 0;

    floor_.body = NULL;
    do {
        int n = SSL_read(floor_.ssl, floor_.reply + have, (int)(ROOM - 1 - have));

        if (n <= 0) {
            die("the CA closed the connection");
        }
        have += (size_t)n;
        floor_.reply[have] = '\0';
        if (!floor_.body && (floor_.body = strstr(floor_.reply, "\r\n\r\n")) != NULL) {
            floor_.body += 4;
        }
    } while (!floor_.body || !complete(have, has_body, &chunked));
    floor_.status = (int)number(floor_.reply + 9, 10);
    keep_header(floor_.nonce, sizeof(floor_.nonce), "Replay-Nonce");
    keep_header(floor_.location, sizeof(floor_.location), "Location");
    if (chunked) {
        join_chunks(floor_.body);
    }
}

static void exchange(const char *method, const char *url, const char *body)
{
    const char *path = strchr(strstr(url, "://") + 3, '/');
    size_t len = body ? strlen(body) : 0;
    char *request = malloc(len + 2048);
    int n = snprintf(request, 2048, "%s %s HTTP/1.1\r\nHost: localhost:%d\r\nUser-Agent: floor\r\n",
                     method, path, floor_.port);

    if (body) {
        n += snprintf(request + n, 256,
                      "Content-Type: application/jose+json\r\nContent-Length: %zu\r\n", len);
    }
    n += snprintf(request + n, len + 8, "\r\n%s", body ? body : "");
    floor_.requests++;
    if (SSL_write(floor_.ssl, request, n) != n) {
        die("cannot write to the CA");
    }
    free(request);
    read_reply(strcmp(method, "HEAD") != 0);
}

/* ---- JWS ---- */

static void sign(unsigned char out[64], const char *text)
{
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    unsigned char der[128];
    const unsigned char *at = der;
    size_t len = sizeof(der);
    ECDSA_SIG *signature;

    if (EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, floor_.key) != 1
        || EVP_DigestSign(md, der, &len, (const unsigned char *)text, strlen(text)) != 1) {
        die("cannot sign");
    }
    signature = d2i_ECDSA_SIG(NULL, &at, (long)len);
    BN_bn2binpad(ECDSA_SIG_get0_r(signature), out, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(signature), out + 32, 32);
    ECDSA_SIG_free(signature);
    EVP_MD_CTX_free(md);
}

/* payload "": POST-as-GET. */
static void post(const char *url, const char *payload)
{
    char protected_header[2048], signing_input[8192], body[12288];
    unsigned char signature[64];
    char *head, *load, *tail;

    snprintf(protected_header, sizeof(protected_header),
             "{\"alg\":\"ES256\",\"nonce\":\"%s\",\"url\":\"%s\",\"%s\":%s%s%s}", floor_.nonce, url,
             floor_.kid[0] ? "kid" : "jwk", floor_.kid[0] ? "\"" : "",
             floor_.kid[0] ? floor_.kid : floor_.jwk, floor_.kid[0] ? "\"" : "");
    head = base64url(protected_header, strlen(protected_header));
    load = base64url(payload, strlen(payload));
    snprintf(signing_input, sizeof(signing_input), "%s.%s", head, load);
    sign(signature, signing_input);
    tail = base64url(signature, sizeof(signature));
    snprintf(body, sizeof(body), "{\"protected\":\"%s\",\"payload\":\"%s\",\"signature\":\"%s\"}",
             head, load, tail);
    free(head);
    free(load);
    free(tail);
    exchange("POST", url, body);
    if (floor_.status >= 400) {
        die("%s: %d %s", url, floor_.status, floor_.body);
    }
}

static json_t *object(void)
{
    json_t *found = json_loads(floor_.body, 0, NULL);

    if (!json_is_object(found)) {
        die("not a JSON object: %s", floor_.body);
    }
    return found;
}

static const char *member(const json_t *of, const char *name)
{
    const char *text = json_string_value(json_object_get(of, name));

    return text ? text : "";
}

/* ---- the account ---- */

static void describe_key(void)
{
    unsigned char point[65], digest[32];
    size_t len = sizeof(point);
    char *x, *y, *text;

    if (EVP_PKEY_get_octet_string_param(floor_.key, OSSL_PKEY_PARAM_PUB_KEY, point, len, &len) != 1
        || len != 65) {
        die("not a P-256 key");
    }
    x = base64url(point + 1, 32);
    y = base64url(point + 33, 32);
    snprintf(floor_.jwk, sizeof(floor_.jwk),
             "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"%s\",\"y\":\"%s\"}", x, y);
    EVP_Digest(floor_.jwk, strlen(floor_.jwk), digest, NULL, EVP_sha256(), NULL);
    text = base64url(digest, sizeof(digest));
    snprintf(floor_.thumbprint, sizeof(floor_.thumbprint), "%s", text);
    free(x);
    free(y);
    free(text);
}

/* 1: the file had one. */
static int account_load(const char *path)
{
    FILE *file = fopen(path, "r");

    floor_.key = file ? PEM_read_PrivateKey(file, NULL, NULL, NULL) : EVP_EC_gen("P-256");
    if (!floor_.key || (file && !fgets(floor_.kid, sizeof(floor_.kid), file))) {
        die("%s: no account", path);
    }
    floor_.kid[strcspn(floor_.kid, "\n")] = '\0';
    describe_key();
    if (file) {
        fclose(file);
    }
    return file != NULL;
}

static void account_make(const char *path, const char *url)
{
    FILE *file;

    post(url, "{\"termsOfServiceAgreed\":true}");
    snprintf(floor_.kid, sizeof(floor_.kid), "%s", floor_.location);
    file = fopen(path, "w");
    if (!file || !PEM_write_PrivateKey(file, floor_.key, NULL, NULL, 0, NULL, NULL)) {
        die("%s: cannot be written", path);
    }
    fprintf(file, "%s\n", floor_.kid);
    fclose(file);
}

/* ---- http-01 ---- */

static void *answer_challenges(void *data)
{
    int listener = *(int *)data;

    for (;;) {
        int fd = accept(listener, NULL, NULL);
        char request[4096], reply[1024];
        ssize_t n = fd >= 0 ? read(fd, request, sizeof(request) - 1) : -1;
        const char *slash;

        request[n > 0 ? n : 0] = '\0';
        slash = strstr(request, "acme-challenge/");
        if (slash) {
            const char *token = slash + strlen("acme-challenge/");
            int len = (int)strcspn(token, " ");

            n = snprintf(
                reply, sizeof(reply),
                "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%.*s.%s",
                len + 1 + (int)strlen(floor_.thumbprint), len, token, floor_.thumbprint);
            if (write(fd, reply, (size_t)n) != n) {
                die("cannot answer the challenge");
            }
        }
        close(fd);
    }
    return NULL;
}

static void listen_for_challenges(void)
{
    static int listener;
    struct sockaddr_in address = loopback(floor_.http_port);
    pthread_t thread;
    int on = 1;

    listener = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (bind(listener, (struct sockaddr *)&address, sizeof(address)) != 0
        || listen(listener, 64) != 0
        || pthread_create(&thread, NULL, answer_challenges, &listener) != 0) {
        die("cannot listen on port %d", floor_.http_port);
    }
}

/* ---- one certificate ---- */

static char *request_for(const char *name)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509_REQ *request = X509_REQ_new();
    STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
    unsigned char *der = NULL;
    char text[300], *encoded;
    int len;

    snprintf(text, sizeof(text), "DNS:%s", name);
    sk_X509_EXTENSION_push(extensions, X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, text));
    X509_REQ_set_pubkey(request, key);
    X509_REQ_add_extensions(request, extensions);
    X509_REQ_sign(request, key, EVP_sha256());
    len = i2d_X509_REQ(request, &der);
    encoded = base64url(der, (size_t)len);
    OPENSSL_free(der);
    sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return encoded;
}

static json_t *poll_until(const char *order, const char *status)
{
    for (;;) {
        struct timespec pause = {floor_.wait_ms / 1000, floor_.wait_ms % 1000 * 1000000};
        json_t *seen;

        nanosleep(&pause, NULL);
        post(order, "");
        floor_.polls++;
        seen = object();
        if (strcmp(member(seen, "status"), status) == 0) {
            return seen;
        }
        if (strcmp(member(seen, "status"), "invalid") == 0) {
            die("the order is invalid: %s", floor_.body);
        }
        json_decref(seen);
    }
}

static void validate(const char *authorization)
{
    json_t *seen, *challenge;
    size_t i;

    post(authorization, "");
    seen = object();
    json_array_foreach(json_object_get(seen, "challenges"), i, challenge)
    {
        if (strcmp(member(challenge, "type"), "http-01") == 0
            && strcmp(member(seen, "status"), "pending") == 0) {
            post(member(challenge, "url"), "{}");
        }
    }
    json_decref(seen);
}

static void issue(const char *name, const char *new_order)
{
    char text[8192], order[512], *csr;
    json_t *seen;

    snprintf(text, sizeof(text), "{\"identifiers\":[{\"type\":\"dns\",\"value\":\"%s\"}]}", name);
    post(new_order, text);
    snprintf(order, sizeof(order), "%s", floor_.location);
    seen = object();
    validate(json_string_value(json_array_get(json_object_get(seen, "authorizations"), 0)));
    json_decref(seen);
    seen = poll_until(order, "ready");
    csr = request_for(name);
    snprintf(text, sizeof(text), "{\"csr\":\"%s\"}", csr);
    free(csr);
    post(member(seen, "finalize"), text);
    json_decref(seen);
    seen = poll_until(order, "valid");
    post(member(seen, "certificate"), "");
    json_decref(seen);
    if (!strstr(floor_.body, "BEGIN CERTIFICATE")) {
        die("no certificate: %s", floor_.body);
    }
}

int main(int argc, char **argv)
{
    const char *ca_file = NULL, *account = NULL, *name = NULL;
    double began = now_ms();
    char url[64];
    json_t *directory;
    int option, known;

    floor_.wait_ms = 1;
    while ((option = getopt(argc, argv, "p:c:h:a:n:w:")) != -1) {
        switch (option) {
        case 'p':
            floor_.port = (int)number(optarg, 10);
            break;
        case 'c':
            ca_file = optarg;
            break;
        case 'h':
            floor_.http_port = (int)number(optarg, 10);
            break;
        case 'a':
            account = optarg;
            break;
        case 'n':
            name = optarg;
            break;
        case 'w':
            floor_.wait_ms = number(optarg, 10);
            break;
        default:
            return 2;
        }
    }
    if (!ca_file || !account || !name) {
        die("floor -p PORT -c CA.pem -h HTTP-PORT -a ACCOUNT -n NAME [-w MS]");
    }
    listen_for_challenges();
    known = account_load(account);
    open_connection(ca_file);
    snprintf(url, sizeof(url), "https://localhost:%d/dir", floor_.port);
    exchange("GET", url, NULL);
    directory = object();
    exchange("HEAD", member(directory, "newNonce"), NULL);
    if (!known) {
        account_make(account, member(directory, "newAccount"));
    }
    issue(name, member(directory, "newOrder"));
    printf("{\"total_ms\": %.3f, \"requests\": %d, \"polls\": %d}\n", now_ms() - began,
           floor_.requests, floor_.polls);
    json_decref(directory);
    return 0;
}
