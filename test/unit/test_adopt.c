/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Root's work at a start: what is adopted, what is not, and that there is always a pair. */

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <apr_file_info.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include "crypto/digest.h"
#include "io/staging.h"
#include "protocol/rollover.h"
#include "store/adopt.h"
#include "command.h"

Suite *adopt_suite(void);

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))
#define SEC APR_INT64_C(1000000)
#define NOW (APR_INT64_C(1795529967) * SEC) /* 2026-11-24 */
#define DAY (APR_INT64_C(86400) * SEC)
#define DIRECTORY "https://ca.example/directory"
#define ITEMS_MAX 4
#define PATH_BYTES 512

static apr_pool_t *pool;
static apr_pool_t *generation; /* of one start */
static apr_time_t clock_ahead;
static char base[PATH_BYTES], store[PATH_BYTES];
static acme_store_cache_t *cache;
static acme_store_root_t root;
static acme_item_t items[ITEMS_MAX];
static acme_account_item_t account;
static acme_ca_t ca;
static acme_spec_t *specs[ITEMS_MAX];
static int n_items;
static char lines[64 * 1024]; /* what was logged */
static EVP_PKEY *root_key;
static X509 *root_cert;

/* ---- certificates, made by OpenSSL itself ---- */

typedef struct {
    const char *chain, *key; /* PEM */
    char key_digest[ACME_SHA256_HEX];
    char fingerprint[ACME_SHA256_HEX];
} minted_t;

typedef struct {
    const char *names; /* "DNS:a,DNS:b"; NULL: the item's */
    apr_time_t not_before, not_after; /* 0: NOW - 1 day, NOW + 90 days */
    int rsa, self_signed, is_ca;
    EVP_PKEY *key;
} mint_t;

static void extension(X509 *x509, int nid, const char *text)
{
    X509V3_CTX ctx;
    X509_EXTENSION *ext;

    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, x509, x509, NULL, NULL, 0);
    ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
    ck_assert_ptr_nonnull(ext);
    X509_add_ext(x509, ext, -1);
    X509_EXTENSION_free(ext);
}

static X509 *x509_new(const char *subject, EVP_PKEY *key, apr_time_t from, apr_time_t until)
{
    static long serial = 0x1000;
    X509 *x509 = X509_new();

    X509_set_version(x509, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_UTF8,
                               (const unsigned char *)subject, -1, -1, 0);
    ASN1_TIME_set(X509_getm_notBefore(x509), (time_t)(from / SEC));
    ASN1_TIME_set(X509_getm_notAfter(x509), (time_t)(until / SEC));
    X509_set_pubkey(x509, key);
    return x509;
}

static const char *pem_of(X509 *x509, EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const char *out;
    char *data;
    long len;

    ck_assert_int_eq(x509 != NULL ? PEM_write_bio_X509(bio, x509)
                                  : PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL,
                                                                  NULL), 1);
    len = BIO_get_mem_data(bio, &data);
    out = apr_pstrmemdup(pool, data, (apr_size_t)len);
    BIO_free(bio);
    return out;
}

static void ca_new(void)
{
    root_key = EVP_EC_gen("P-256");
    root_cert = x509_new("Test Root", root_key, NOW - 1000 * DAY, NOW + 3000 * DAY);
    X509_set_issuer_name(root_cert, X509_get_subject_name(root_cert));
    extension(root_cert, NID_basic_constraints, "critical,CA:TRUE");
    ck_assert_int_gt(X509_sign(root_cert, root_key, EVP_sha256()), 0);
}

static minted_t *mint(const mint_t *what)
{
    static const mint_t plain;
    minted_t *out = apr_pcalloc(pool, sizeof(*out));
    EVP_PKEY *key;
    unsigned char *der = NULL;
    X509 *x509;
    int len;

    what = what != NULL ? what : &plain;
    key = what->key != NULL ? what->key : what->rsa ? EVP_RSA_gen(2048) : EVP_EC_gen("P-256");
    x509 = x509_new("leaf", key, what->not_before ? what->not_before : NOW - DAY,
                    what->not_after ? what->not_after : NOW + 90 * DAY);
    X509_set_issuer_name(x509, X509_get_subject_name(what->self_signed ? x509 : root_cert));
    extension(x509, NID_basic_constraints, what->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    extension(x509, NID_ext_key_usage, "serverAuth");
    extension(x509, NID_subject_alt_name,
              what->names != NULL ? what->names : "DNS:example.org,DNS:www.example.org");
    ck_assert_int_gt(X509_sign(x509, what->self_signed ? key : root_key, EVP_sha256()), 0);
    out->chain = apr_pstrcat(pool, pem_of(x509, NULL),
                             what->self_signed ? "" : pem_of(root_cert, NULL), NULL);
    out->key = pem_of(NULL, key);
    len = i2d_PUBKEY(key, &der);
    acme_sha256_hex(out->key_digest, der, (apr_size_t)len);
    OPENSSL_free(der);
    der = NULL;
    len = i2d_X509(x509, &der);
    acme_sha256_hex(out->fingerprint, der, (apr_size_t)len);
    OPENSSL_free(der);
    X509_free(x509);
    if (what->key == NULL) {
        EVP_PKEY_free(key);
    }
    return out;
}

/* ---- files ---- */

static char *slurp(const char *path)
{
    FILE *file = fopen(path, "r");
    char *data = apr_pcalloc(pool, 2 * 1024 * 1024);

    if (file == NULL) {
        return NULL;
    }
    data[fread(data, 1, 2 * 1024 * 1024 - 1, file)] = '\0';
    fclose(file);
    return data;
}

static void spill_bytes(const char *path, const char *data, apr_size_t len, const char *how)
{
    FILE *file = fopen(path, how);

    ck_assert_msg(file != NULL, "%s", path);
    ck_assert_int_eq(fwrite(data, 1, len, file), len);
    fclose(file);
    chmod(path, 0600);
}

static void spill(const char *path, const char *text)
{
    spill_bytes(path, text, strlen(text), "w");
}

static int there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static ino_t inode(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0 ? st.st_ino : 0;
}

static unsigned mode_of(const char *path)
{
    struct stat st;

    ck_assert_msg(lstat(path, &st) == 0, "%s", path);
    return (unsigned)st.st_mode & 07777;
}

static const char *in_store(const char *name)
{
    return apr_pstrcat(pool, store, "/", name, NULL);
}

/* Every file below base with what a change would show. */
static char tree_text[256 * 1024];
static apr_size_t tree_len;

static int tree_file(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)flag;
    (void)ftw;
    tree_len += (apr_size_t)apr_snprintf(tree_text + tree_len, sizeof(tree_text) - tree_len,
                                         "%s %ld %o %ld %ld.%09ld %ld.%09ld\n", path,
                                         (long)st->st_ino, (unsigned)st->st_mode,
                                         (long)st->st_size, (long)st->st_mtim.tv_sec,
                                         (long)st->st_mtim.tv_nsec, (long)st->st_ctim.tv_sec,
                                         (long)st->st_ctim.tv_nsec);
    return 0;
}

static const char *tree(void)
{
    tree_len = 0;
    tree_text[0] = '\0';
    nftw(base, tree_file, 16, FTW_PHYS);
    return apr_pstrdup(pool, tree_text);
}

/* Number of files whose name ends so, in a directory. */
static int count_files(const char *dir, const char *end)
{
    apr_size_t tail = strlen(end);
    apr_dir_t *handle;
    apr_finfo_t info;
    int n = 0;

    if (apr_dir_open(&handle, dir, pool) != APR_SUCCESS) {
        return 0;
    }
    while (apr_dir_read(&info, APR_FINFO_NAME, handle) == APR_SUCCESS) {
        apr_size_t len = strlen(info.name);

        n += len > tail && strcmp(info.name + len - tail, end) == 0;
    }
    apr_dir_close(handle);
    return n;
}

/* Do the files make a pair? Asked of OpenSSL. */
static int pair_matches(const char *cert_path, const char *key_path)
{
    FILE *cert_file = fopen(cert_path, "r");
    FILE *key_file = fopen(key_path, "r");
    X509 *x509 = cert_file ? PEM_read_X509(cert_file, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = key_file ? PEM_read_PrivateKey(key_file, NULL, NULL, NULL) : NULL;
    int ok = x509 != NULL && key != NULL && X509_check_private_key(x509, key) == 1;

    if (cert_file) {
        fclose(cert_file);
    }
    if (key_file) {
        fclose(key_file);
    }
    X509_free(x509);
    EVP_PKEY_free(key);
    return ok;
}

/* ---- the world ---- */

static void write_line(void *baton, acme_log_level_t level, const char *subject, const char *line)
{
    apr_size_t used = strlen(lines);

    (void)baton;
    (void)level;
    (void)subject;
    apr_snprintf(lines + used, sizeof(lines) - used, "%s\n", line);
}

static const acme_log_t logger = {write_line, NULL, ACME_LOG_DEBUG};

static acme_spec_t *spec_new(const char *id, const char *name)
{
    acme_spec_t *spec = apr_pcalloc(pool, sizeof(*spec));

    spec->id = id;
    spec->label = id;
    spec->names = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(spec->names, const char *) = name;
    APR_ARRAY_PUSH(spec->names, const char *) = apr_pstrcat(pool, "www.", name, NULL);
    spec->key_type = ACME_KEY_P256;
    spec->cas = apr_array_make(pool, 1, sizeof(const acme_ca_t *));
    APR_ARRAY_PUSH(spec->cas, acme_ca_t *) = &ca;
    spec->cert_path = apr_pstrcat(pool, store, "/", id, ".crt.pem", NULL);
    spec->key_path = apr_pstrcat(pool, store, "/", id, ".key.pem", NULL);
    spec->digest = acme_spec_digest(spec, pool);
    return spec;
}

static void add_item(const char *id, const char *name)
{
    specs[n_items++] = spec_new(id, name);
}

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
    umask(022);
    apr_cpystrn(base, "/tmp/acme-adopt.XXXXXX", sizeof(base));
    ck_assert_ptr_nonnull(mkdtemp(base));
    apr_snprintf(store, sizeof(store), "%s/store", base);
    memset(&ca, 0, sizeof(ca));
    ca.name = "ca";
    ca.directory_url = DIRECTORY;
    ca.auth_path = in_store("ca.example.jwk");
    ca.account_key_type = ACME_KEY_P256;
    memset(&root, 0, sizeof(root));
    root.store = store;
    root.fallback_dir = apr_pstrcat(pool, base, "/run", NULL);
    mkdir(root.fallback_dir, 0755);
    root.uid = geteuid();
    root.backups = 3;
    root.own_logs_max = 100;
    root.log = &logger;
    cache = NULL;
    generation = NULL;
    clock_ahead = 0;
    ca_new();
    n_items = 0;
    add_item("example.org", "example.org");
}

/* The configuration goes, and with it what it held. */
static void close_fds(void)
{
    if (generation != NULL) {
        apr_pool_destroy(generation);
    }
    generation = NULL;
}

static void teardown(void)
{
    close_fds();
    X509_free(root_cert);
    EVP_PKEY_free(root_key);
    command_run("chmod", "-R", "u+rwx", base);
    command_run("rm", "-rf", base, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
}

static void prepare(int look)
{
    int i;

    close_fds();
    lines[0] = '\0';
    memset(items, 0, sizeof(items));
    for (i = 0; i < n_items; i++) {
        items[i].spec = specs[i];
        items[i].fd = items[i].key_fd = -1;
    }
    root.now = NOW + clock_ahead;
    root.cache = cache;
    apr_pool_create(&generation, NULL);
    acme_store_prepare(&root, items, n_items, look, generation);
}

static void adopt(void)
{
    memset(&account, 0, sizeof(account));
    account.ca = &ca;
    account.fd = -1;
    acme_store_adopt(&root, items, n_items, &account, 1, generation);
}

/* A cold start: dry pass, real pass. */
static void start(void)
{
    prepare(0);
    prepare(0);
    adopt();
}

static void start_ok(void)
{
    int i;

    start();
    for (i = 0; i < n_items; i++) {
        ck_assert_msg(items[i].cert_file != NULL, "no file: %s", lines);
        ck_assert_msg(pair_matches(items[i].cert_file, items[i].key_file), "%s %s\n%s",
                      items[i].cert_file, items[i].key_file, lines);
    }
}

static int logged(const char *code)
{
    return strstr(lines, code) != NULL;
}

/* ---- records ---- */

typedef struct {
    const char *id, *directory, *spec_digest, *key_digest, *challenge, *left_out;
} stage_t;

static const apr_array_header_t *just(const char *name)
{
    apr_array_header_t *names = apr_array_make(pool, 1, sizeof(const char *));

    APR_ARRAY_PUSH(names, const char *) = name;
    return names;
}

static const char *record(const char *id, acme_record_type_t type, apr_int64_t seq,
                          const char *payload, apr_size_t *len)
{
    acme_record_t rec;
    const char *bytes;

    memset(&rec, 0, sizeof(rec));
    rec.id = id;
    rec.type = type;
    rec.seq = seq;
    rec.time = NOW;
    rec.payload = payload;
    rec.len = strlen(payload);
    ck_assert(acme_record_encode(&bytes, len, &rec, pool, NULL) == ACME_OK);
    return bytes;
}

static const char *upd(const char *path)
{
    return apr_pstrcat(pool, path, ".upd", NULL);
}

static void append(const char *log, const char *id, acme_record_type_t type, apr_int64_t seq,
                   const char *payload)
{
    apr_size_t len;
    const char *bytes = record(id, type, seq, payload, &len);

    spill_bytes(log, bytes, len, "a");
}

static const char *certificate_payload(const minted_t *pair, const stage_t *how,
                                       const acme_spec_t *spec)
{
    acme_issued_t issued;
    apr_size_t len;

    issued.key_digest = how && how->key_digest ? how->key_digest : pair->key_digest;
    issued.directory = how && how->directory ? how->directory : DIRECTORY;
    issued.spec_digest = how && how->spec_digest ? how->spec_digest : spec->digest;
    issued.challenge = how && how->challenge ? how->challenge : "http-01";
    issued.left_out = how && how->left_out ? just(how->left_out) : NULL;
    issued.issued = NOW - DAY;
    return acme_certificate_payload(&len, &issued, pair->chain, pool);
}

static void stage_key(int i, const minted_t *pair, apr_int64_t seq)
{
    append(upd(specs[i]->key_path), specs[i]->id, ACME_REC_KEY, seq, pair->key);
}

static void stage_cert(int i, const minted_t *pair, apr_int64_t seq, const stage_t *how)
{
    append(upd(specs[i]->cert_path), specs[i]->id, ACME_REC_CERTIFICATE, seq,
           certificate_payload(pair, how, specs[i]));
}

static void stage(int i, const minted_t *pair, apr_int64_t seq)
{
    stage_key(i, pair, seq);
    stage_cert(i, pair, seq + 2, NULL);
}

static int handed(int i, acme_record_type_t type, apr_int64_t seq)
{
    acme_record_set_t set;

    acme_record_collect(&set, specs[i]->id, items[i].handed, items[i].handed_len, pool);
    return seq == 0 ? !set.present[type] : set.present[type] && set.rec[type].seq == seq;
}

static int live_is(int i, const minted_t *pair)
{
    const char *cert = slurp(specs[i]->cert_path);
    const char *key = slurp(specs[i]->key_path);

    return cert != NULL && key != NULL && strcmp(cert, pair->chain) == 0
           && strcmp(key, pair->key) == 0;
}

static const char *archive(int i)
{
    return apr_pstrcat(pool, store, "/archive/", specs[i]->id, NULL);
}

/* ---- tests: a first start ---- */

START_TEST(first_start)
{
    ino_t cert_inode, key_inode, account_inode;
    const char *cert = in_store("placeholder/example.org.crt.pem");
    const char *key = in_store("placeholder/example.org.key.pem");
    const char *jwk;
    X509 *x509;
    FILE *file;

    start_ok();
    ck_assert_str_eq(items[0].cert_file, cert);
    ck_assert_str_eq(items[0].key_file, key);
    ck_assert(items[0].placeholder && !items[0].usable && !items[0].facts.have);
    ck_assert(items[0].can_stage && items[0].trouble == NULL && items[0].remark == NULL);
    ck_assert_int_eq(mode_of(store), 0700);
    ck_assert_int_eq(mode_of(key), 0600);
    ck_assert_int_eq(mode_of(ca.auth_path), 0600);
    ck_assert(account.created && account.jwk != NULL && account.trouble == NULL);
    ck_assert_str_eq(account.id, "_account.ca.example");
    ck_assert_int_eq(fcntl(items[0].fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    ck_assert_int_eq(fcntl(items[0].key_fd, F_GETFL) & (O_ACCMODE | O_APPEND), O_WRONLY | O_APPEND);
    ck_assert_int_eq(fcntl(items[0].fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
    ck_assert_int_eq(mode_of(upd(specs[0]->cert_path)), 0600);
    file = fopen(cert, "r");
    x509 = PEM_read_X509(file, NULL, NULL, NULL);
    fclose(file);
    ck_assert_int_eq(X509_check_host(x509, "www.example.org", 0, 0, NULL), 1);
    X509_free(x509);
    jwk = slurp(ca.auth_path);
    cert_inode = inode(cert);
    key_inode = inode(key);
    account_inode = inode(ca.auth_path);
    start_ok();
    ck_assert(inode(cert) == cert_inode && inode(key) == key_inode);
    ck_assert(inode(ca.auth_path) == account_inode && !account.created);
    ck_assert_str_eq(jwk, slurp(ca.auth_path));
    ck_assert_str_eq(account.jwk, jwk);
}
END_TEST

START_TEST(umask_does_not_matter)
{
    static const mode_t masks[] = {0, 0777};

    umask(masks[_i]);
    start_ok();
    umask(022);
    ck_assert_int_eq(mode_of(store), 0700);
    ck_assert_int_eq(mode_of(in_store("placeholder")), 0700);
    ck_assert_int_eq(mode_of(items[0].cert_file), 0600);
    ck_assert_int_eq(mode_of(ca.auth_path), 0600);
    ck_assert_int_eq(mode_of(upd(specs[0]->key_path)), 0600);
}
END_TEST

/* A placeholder is made again when it is torn, mixed up, or for other names. */
START_TEST(placeholder_again)
{
    const char *cert = in_store("placeholder/example.org.crt.pem");
    const char *key = in_store("placeholder/example.org.key.pem");
    minted_t *other = mint(NULL);
    ino_t before;

    start_ok();
    before = inode(cert);
    switch (_i) {
    case 0:
        ck_assert_int_eq(truncate(cert, 300), 0);
        break;
    case 1:
        ck_assert_int_eq(truncate(key, 100), 0);
        break;
    case 2:
        spill(key, other->key);
        break;
    case 3:
        APR_ARRAY_PUSH(specs[0]->names, const char *) = "new.example.org";
        break;
    case 4:
        unlink(key);
        break;
    case 5:
        spill(cert, other->chain);
        break;
    }
    start_ok();
    ck_assert(inode(cert) != before);
    before = inode(cert);
    start_ok();
    ck_assert(inode(cert) == before);
}
END_TEST

/* One that is about to end is made again in time; ten years are what it lives. */
START_TEST(placeholder_ends)
{
    const char *cert = in_store("placeholder/example.org.crt.pem");
    ino_t before;

    start_ok();
    before = inode(cert);
    clock_ahead = 9 * 365 * DAY;
    start_ok();
    ck_assert(inode(cert) == before);
    clock_ahead = 10 * 365 * DAY;
    start_ok();
    ck_assert(inode(cert) != before);
}
END_TEST

/* ---- tests: adoption ---- */

START_TEST(adopts)
{
    minted_t *first = mint(NULL);
    minted_t *second = mint(NULL);
    ino_t cert_inode, log_inode;
    const char *log;

    start_ok();
    log_inode = inode(upd(specs[0]->cert_path));
    stage(0, first, 1);
    start_ok();
    ck_assert(items[0].adopted && items[0].usable && !items[0].placeholder);
    ck_assert(live_is(0, first));
    ck_assert_str_eq(items[0].cert_file, specs[0]->cert_path);
    ck_assert_int_eq(mode_of(specs[0]->cert_path), 0600);
    ck_assert_int_eq(mode_of(specs[0]->key_path), 0600);
    cert_inode = inode(specs[0]->cert_path);
    ck_assert(cert_inode != log_inode && inode(upd(specs[0]->cert_path)) != log_inode);
    ck_assert(logged("AC0622"));
    ck_assert(items[0].facts.have && items[0].facts.names_ok && items[0].facts.directory_ok);
    ck_assert_int_eq(items[0].facts.not_after, NOW + 90 * DAY);
    ck_assert_str_eq(items[0].issued.key_digest, first->key_digest);
    ck_assert_str_eq(items[0].issued.directory, DIRECTORY);
    ck_assert_str_eq(items[0].issued.challenge, "http-01");
    /* What was staged is gone from the logs but for the live record. */
    ck_assert(handed(0, ACME_REC_LIVE, 3) && handed(0, ACME_REC_KEY, 0)
              && handed(0, ACME_REC_CERTIFICATE, 0));
    log = slurp(upd(specs[0]->cert_path));
    ck_assert(strstr(log, " live 3 ") != NULL && strstr(log, " certificate ") == NULL);
    ck_assert_str_eq(slurp(upd(specs[0]->key_path)), "");
    ck_assert(!there(in_store("journal")));
    /* A second start changes nothing and knows the same. */
    start_ok();
    ck_assert(!items[0].adopted && inode(specs[0]->cert_path) == cert_inode);
    ck_assert_str_eq(items[0].issued.key_digest, first->key_digest);
    ck_assert_str_eq(lines, "");
    /* The next one: the former pair is kept. */
    stage(0, second, 4);
    start_ok();
    ck_assert(items[0].adopted && live_is(0, second));
    ck_assert_int_eq(count_files(archive(0), ".crt.pem"), 1);
    ck_assert_int_eq(count_files(archive(0), ".key.pem"), 1);
    ck_assert_int_eq(count_files(archive(0), ".rej"), 0);
}
END_TEST

START_TEST(backups_are_bounded)
{
    minted_t *pair[6];
    apr_dir_t *handle;
    apr_finfo_t info;
    int i, n = 0;

    start_ok();
    for (i = 0; i < 6; i++) {
        pair[i] = mint(NULL);
        stage(0, pair[i], 1 + 3 * i);
        start_ok();
        ck_assert(live_is(0, pair[i]));
    }
    ck_assert(apr_dir_open(&handle, archive(0), pool) == APR_SUCCESS);
    while (apr_dir_read(&info, APR_FINFO_NAME, handle) == APR_SUCCESS) {
        apr_size_t len = strlen(info.name);
        const char *stem;
        int k;

        if (len < 9 || strcmp(info.name + len - 8, ".crt.pem") != 0) {
            continue;
        }
        stem = apr_pstrcat(pool, archive(0), "/", apr_pstrmemdup(pool, info.name, len - 8), NULL);
        ck_assert(pair_matches(apr_pstrcat(pool, stem, ".crt.pem", NULL),
                               apr_pstrcat(pool, stem, ".key.pem", NULL)));
        for (k = 2; k < 5; k++) {
            n += strcmp(slurp(apr_pstrcat(pool, stem, ".crt.pem", NULL)), pair[k]->chain) == 0;
        }
    }
    apr_dir_close(handle);
    ck_assert_int_eq(n, 3); /* the newest three before the live one */
    ck_assert_int_eq(count_files(archive(0), ".key.pem"), 3);
}
END_TEST

/* Complete without the name that was left out, as long as AcmePartial says so. */
START_TEST(adopts_without_a_name)
{
    mint_t fewer = {.names = "DNS:example.org"};
    minted_t *pair = mint(&fewer);
    stage_t how = {.left_out = "www.example.org"};

    specs[0]->may_lack = just("www.example.org");
    start_ok();
    stage_key(0, pair, 1);
    stage_cert(0, pair, 3, &how);
    start_ok();
    ck_assert(live_is(0, pair) && items[0].adopted && items[0].facts.names_ok);
    ck_assert_str_eq(APR_ARRAY_IDX(items[0].issued.left_out, 0, const char *), "www.example.org");
    start_ok();
    ck_assert(live_is(0, pair) && items[0].facts.names_ok);
    ck_assert_ptr_nonnull(items[0].issued.left_out);
    ck_assert_str_eq(items[0].known->lacks, "www.example.org");
    specs[0]->may_lack = NULL;
    start_ok();
    ck_assert(live_is(0, pair) && !items[0].facts.names_ok);
    ck_assert_ptr_null(items[0].issued.left_out);
}
END_TEST

/* Each rule broken once: the live pair stays, what was refused is kept, and is told once. */
typedef struct {
    const char *what;
    mint_t mint;
    stage_t how;
    int no_key, wrong_key, key_in_chain, garbage;
    const char *may_lack;
    const char *code;
} broken_rule_t;

static const broken_rule_t rules[] = {
    {.what = "other names", .mint = {.names = "DNS:example.org"}, .code = "AC0605"},
    {.what = "more names", .mint = {.names = "DNS:example.org,DNS:www.example.org,DNS:x.org"},
     .code = "AC0605"},
    {.what = "foreign names", .mint = {.names = "DNS:bank.example"}, .code = "AC0605"},
    {.what = "a name that was not left out", .mint = {.names = "DNS:example.org"},
     .may_lack = "www.example.org", .code = "AC0605"},
    {.what = "a name less than was left out", .how = {.left_out = "www.example.org"},
     .may_lack = "www.example.org", .code = "AC0605"},
    {.what = "left out where all are wanted", .mint = {.names = "DNS:example.org"},
     .how = {.left_out = "www.example.org"}, .code = "AC0605"},
    {.what = "the first left out", .mint = {.names = "DNS:www.example.org"},
     .how = {.left_out = "example.org"}, .may_lack = "www.example.org", .code = "AC0605"},
    {.what = "key type", .mint = {.rsa = 1}, .code = "AC0605"},
    {.what = "spec digest", .how = {.spec_digest = "00"}, .code = "AC0605"},
    {.what = "directory", .how = {.directory = "https://evil.example/d"}, .code = "AC0605"},
    {.what = "no key", .no_key = 1, .code = "AC0604"},
    {.what = "key of another", .wrong_key = 1, .code = "AC0605"},
    {.what = "older", .mint = {.not_before = NOW - 30 * DAY}, .code = "AC0605"},
    {.what = "self-signed", .mint = {.self_signed = 1}, .code = "AC0605"},
    {.what = "expired", .mint = {.not_before = NOW - 2 * DAY, .not_after = NOW - DAY},
     .code = "AC0605"},
    {.what = "a CA", .mint = {.is_ca = 1}, .code = "AC0605"},
    {.what = "key in the chain", .key_in_chain = 1, .code = "AC0605"},
    {.what = "garbage", .garbage = 1, .code = "AC0605"},
};

START_TEST(refuses)
{
    const broken_rule_t *rule = &rules[_i];
    mint_t old = {.not_before = NOW - 10 * DAY};
    minted_t *live = mint(&old);
    minted_t *other = mint(NULL);
    minted_t *pair = mint(&rule->mint);
    stage_t how = rule->how;

    specs[0]->may_lack = rule->may_lack ? just(rule->may_lack) : NULL;
    start_ok();
    stage(0, live, 1);
    start_ok();
    ck_assert(live_is(0, live));
    if (rule->wrong_key) {
        stage_key(0, other, 10);
        how.key_digest = other->key_digest;
    }
    else if (!rule->no_key) {
        stage_key(0, pair, 10);
    }
    if (rule->key_in_chain) {
        pair->chain = apr_pstrcat(pool, pair->chain, pair->key, NULL);
    }
    if (rule->garbage) {
        pair->chain = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
    }
    stage_cert(0, pair, 11, &how);
    start_ok();
    ck_assert_msg(live_is(0, live) && !items[0].adopted, "%s: %s", rule->what, lines);
    ck_assert_msg(logged(rule->code), "%s: %s", rule->what, lines);
    ck_assert_int_eq(count_files(archive(0), ".rej"), 1);
    ck_assert_int_eq(count_files(archive(0), ".crt.pem"), 0);
    ck_assert(items[0].can_stage && items[0].trouble == NULL);
    ck_assert(handed(0, ACME_REC_LIVE, 3) && handed(0, ACME_REC_CERTIFICATE, 0));
    start_ok();
    ck_assert_msg(lines[0] == '\0', "told again: %s", lines);
    ck_assert_int_eq(count_files(archive(0), ".rej"), 1);
}
END_TEST

/* Nothing is on disk: a pair that was obtained under another configuration, or under another clock,
 * is better than none. */
START_TEST(rather_than_nothing)
{
    static const broken_rule_t odd[] = {
        {.what = "fewer names", .mint = {.names = "DNS:example.org"}},
        {.what = "more names", .mint = {.names = "DNS:example.org,DNS:www.example.org,DNS:x.org"}},
        {.what = "key type", .mint = {.rsa = 1}},
        {.what = "spec digest", .how = {.spec_digest = "00"}},
        {.what = "directory", .how = {.directory = "https://former.example/d"}},
        {.what = "expired", .mint = {.not_before = NOW - 2 * DAY, .not_after = NOW - DAY}},
    };
    minted_t *pair = mint(&odd[_i].mint);

    start_ok();
    stage_key(0, pair, 10);
    stage_cert(0, pair, 11, &odd[_i].how);
    start_ok();
    ck_assert_msg(live_is(0, pair) && items[0].adopted, "%s: %s", odd[_i].what, lines);
    ck_assert_int_eq(count_files(archive(0), ".rej"), 0);
    ck_assert_int_eq(items[0].facts.names_ok, _i != 0);
    ck_assert_int_eq(items[0].facts.directory_ok, _i != 4);
}
END_TEST

/* But not one that has nothing to do with it, nor one before a pair of the very configuration. */
START_TEST(not_anything_rather_than_nothing)
{
    static const broken_rule_t bad[] = {
        {.what = "foreign names", .mint = {.names = "DNS:bank.example"}},
        {.what = "an alias only", .mint = {.names = "DNS:www.example.org"}},
        {.what = "self-signed", .mint = {.self_signed = 1}},
        {.what = "a CA", .mint = {.is_ca = 1}},
    };
    mint_t fewer = {.names = "DNS:example.org"};
    minted_t *pair = mint(&bad[_i].mint);
    minted_t *right = mint(NULL);

    start_ok();
    stage(0, pair, 10);
    start_ok();
    ck_assert_msg(!items[0].usable && logged("AC0605"), "%s: %s", bad[_i].what, lines);
    stage(0, right, 20);
    stage(0, mint(&fewer), 30);
    start_ok();
    ck_assert_msg(live_is(0, right), "%s", lines);
}
END_TEST

/* What the vhost's ciphers cannot serve waits in its log until the configuration is mended. */
START_TEST(not_negotiable)
{
    mint_t former = {.rsa = 1, .not_before = NOW - 10 * DAY};
    minted_t *live = mint(&former);
    minted_t *pair = mint(NULL);

    start_ok();
    stage(0, live, 1);
    start_ok();
    ck_assert(live_is(0, live));
    stage(0, pair, 10);
    specs[0]->not_negotiable = 1;
    start_ok();
    ck_assert_msg(live_is(0, live) && lines[0] == '\0', "%s", lines);
    ck_assert(handed(0, ACME_REC_CERTIFICATE, 12) && handed(0, ACME_REC_KEY, 10));
    specs[0]->not_negotiable = 0;
    start_ok();
    ck_assert(live_is(0, pair));
}
END_TEST

/* What looks odd and is right. */
START_TEST(accepts)
{
    static const mint_t odd[] = {
        {.not_after = NOW + 6 * DAY},                          /* 90 days -> 160 hours */
        {.not_before = NOW + 5 * DAY},                         /* our clock is wrong */
        {.names = "DNS:WWW.example.org,DNS:Example.org"},      /* order and case */
        {.not_before = NOW - 10 * DAY},                        /* not earlier is enough */
    };
    mint_t old = {.not_before = NOW - 10 * DAY, .not_after = NOW + 80 * DAY};
    minted_t *live = mint(&old);
    minted_t *pair = mint(&odd[_i]);

    start_ok();
    stage(0, live, 1);
    start_ok();
    stage(0, pair, 4);
    start_ok();
    ck_assert_msg(items[0].adopted && live_is(0, pair), "%s", lines);
    start_ok();
    start_ok();
    ck_assert(live_is(0, pair));
}
END_TEST

/* The newest complete pair, which is not the last record of each log. */
START_TEST(newest_complete_pair)
{
    mint_t earlier = {.not_before = NOW - 2 * DAY};
    minted_t *one = mint(&earlier);
    minted_t *two = mint(NULL);
    minted_t *three = mint(NULL);

    start_ok();
    stage(0, one, 1);
    stage(0, two, 4);
    stage_key(0, three, 7); /* an interrupted renewal */
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_ORDER, 8, "{\"step\":\"order\"}");
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_ATTEMPT, 5, "{\"failures\":1}");
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_ARI, 2, "{}");
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_CLEANUP, 3, "{}");
    start_ok();
    ck_assert(live_is(0, two));
    ck_assert_int_eq(count_files(archive(0), ".rej"), 0);
    ck_assert_int_eq(count_files(archive(0), ".crt.pem"), 0);
    ck_assert(handed(0, ACME_REC_KEY, 7) && handed(0, ACME_REC_ORDER, 8)
              && handed(0, ACME_REC_LIVE, 6) && handed(0, ACME_REC_ATTEMPT, 0)
              && handed(0, ACME_REC_ARI, 2) && handed(0, ACME_REC_CLEANUP, 3));
    ck_assert_ptr_null(strstr(slurp(upd(specs[0]->cert_path)), "PRIVATE"));
    ck_assert_ptr_nonnull(strstr(slurp(upd(specs[0]->key_path)), "PRIVATE"));
    /* The pending order ends. */
    stage_cert(0, three, 9, NULL);
    start_ok();
    ck_assert(live_is(0, three));
    ck_assert(handed(0, ACME_REC_KEY, 0) && handed(0, ACME_REC_ORDER, 0));
}
END_TEST

START_TEST(older_pair_behind_a_bad_one)
{
    minted_t *good = mint(NULL);
    minted_t *lone = mint(NULL);

    start_ok();
    stage(0, good, 1);
    stage_cert(0, lone, 9, NULL); /* its key was never recorded */
    start_ok();
    ck_assert(live_is(0, good) && items[0].adopted);
    ck_assert(logged("AC0604"));
    ck_assert_int_eq(count_files(archive(0), ".rej"), 1);
    /* Numbers go on behind the refused one, whose records are not orders to be resumed. */
    ck_assert(handed(0, ACME_REC_LIVE, 3));
}
END_TEST

START_TEST(same_key_again)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    mint_t with = {.key = key, .not_before = NOW - 2 * DAY};
    minted_t *one = mint(&with);
    minted_t *two;

    with.not_before = NOW - DAY;
    two = mint(&with);
    EVP_PKEY_free(key);
    start_ok();
    stage(0, one, 1);
    start_ok();
    stage_cert(0, two, 9, NULL); /* AcmeKeyReuse: the key stands in F only */
    start_ok();
    ck_assert_msg(live_is(0, two), "%s", lines);
}
END_TEST

/* Adopted, killed before the logs were fresh: nothing to do, no second backup. */
START_TEST(adopted_twice)
{
    minted_t *first = mint(NULL);
    minted_t *second = mint(NULL);
    ino_t before;

    start_ok();
    stage(0, first, 1);
    start_ok();
    stage(0, second, 4);
    start_ok();
    before = inode(specs[0]->cert_path);
    stage(0, second, 4);
    unlink(upd(specs[0]->cert_path));
    stage_cert(0, second, 6, NULL);
    start_ok();
    ck_assert(inode(specs[0]->cert_path) == before);
    ck_assert_int_eq(count_files(archive(0), ".crt.pem"), 1);
    ck_assert_int_eq(count_files(archive(0), ".rej"), 0);
    ck_assert_str_eq(items[0].issued.key_digest, second->key_digest);
    ck_assert_str_eq(slurp(upd(specs[0]->key_path)), "");
}
END_TEST

START_TEST(numbers_start_again)
{
    minted_t *pair = mint(NULL);

    start_ok();
    stage(0, pair, ACME_SEQ_HIGH + 5);
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_ARI, ACME_SEQ_MAX, "{}");
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_CLEANUP, ACME_SEQ_MAX + 1, "{}");
    start_ok();
    ck_assert(live_is(0, pair));
    ck_assert(handed(0, ACME_REC_LIVE, 1) && handed(0, ACME_REC_ARI, 2)
              && handed(0, ACME_REC_CLEANUP, 0));
    start_ok();
    ck_assert(handed(0, ACME_REC_LIVE, 1));
}
END_TEST

/* ---- tests: damage ---- */

/* The log cut at any byte, or with any byte changed: the old pair or the new one. */
static void damage(int cut)
{
    minted_t *old = mint(NULL);
    minted_t *fresh = mint(NULL);
    const char *log = upd(specs[0]->cert_path);
    const char *copy = apr_pstrcat(pool, base, "/copy", NULL);
    int adoptions = 0, refusals = 0;
    long size, at;
    struct stat st;
    char byte;
    int fd;

    start_ok();
    stage(0, old, 1);
    start_ok();
    stage(0, fresh, 4);
    close_fds();
    command_run("cp", "-a", store, copy);
    ck_assert_int_eq(stat(log, &st), 0);
    size = (long)st.st_size;
    for (at = 0; at < size; at += cut ? 23 : 41) {
        apr_pool_t *outer = pool;

        apr_pool_create(&pool, outer);
        command_run("rm", "-rf", store, NULL);
        command_run("cp", "-a", copy, store);
        if (cut) {
            ck_assert_int_eq(truncate(log, at), 0);
        }
        else {
            fd = open(log, O_RDWR);
            ck_assert(pread(fd, &byte, 1, at) == 1);
            byte ^= 0x20;
            ck_assert(pwrite(fd, &byte, 1, at) == 1);
            close(fd);
        }
        start_ok();
        ck_assert_msg(live_is(0, items[0].adopted ? fresh : old), "at %ld", at);
        adoptions += items[0].adopted;
        refusals += !items[0].adopted;
        start_ok();
        ck_assert_msg(lines[0] == '\0' && !items[0].adopted, "at %ld: %s", at, lines);
        apr_pool_destroy(pool);
        pool = outer;
    }
    ck_assert(refusals > 10 && (cut || adoptions > 3));
}

START_TEST(cut_anywhere)
{
    damage(1);
}
END_TEST

START_TEST(changed_anywhere)
{
    damage(0);
}
END_TEST

START_TEST(huge_log)
{
    const char *log = upd(specs[0]->cert_path);
    minted_t *pair = mint(NULL);

    start_ok();
    stage(0, pair, 1);
    ck_assert_int_eq(truncate(log, (off_t)10 * 1024 * 1024 * 1024), 0);
    start_ok();
    ck_assert(live_is(0, pair));
    ck_assert(logged("AC0623") && logged("AC0603"));
    ck_assert(items[0].log_size < 4096);
    start_ok();
    ck_assert_str_eq(lines, "");
}
END_TEST

START_TEST(full_log)
{
    const char *log = upd(specs[0]->cert_path);
    char *filler = apr_palloc(pool, 100001);
    int i;

    memset(filler, 'x', 100000);
    filler[100000] = '\0';
    start_ok();
    for (i = 0; i < 9; i++) {
        append(log, "example.org", ACME_REC_ARI, i + 1, filler);
    }
    append(log, "example.org", ACME_REC_ATTEMPT, 11, "{\"failures\":3}");
    start_ok();
    ck_assert(handed(0, ACME_REC_ARI, 9) && handed(0, ACME_REC_ATTEMPT, 11));
    ck_assert(items[0].log_size < 150000);
    ck_assert_int_eq(items[0].log_size, (apr_size_t)strlen(slurp(log)));
}
END_TEST

/* Records of a hostile child: as many keys as fit. */
START_TEST(many_keys)
{
    minted_t *pair = mint(NULL);
    minted_t *junk = mint(NULL);
    apr_time_t begun;
    int i;

    start_ok();
    for (i = 0; i < 2000; i++) {
        stage_key(0, junk, 100 + i);
    }
    stage_cert(0, pair, 5000, NULL);
    begun = apr_time_now();
    start_ok();
    ck_assert(apr_time_now() - begun < 3 * SEC);
    ck_assert(logged("AC0604"));
}
END_TEST

/* ---- tests: pairs on disk ---- */

START_TEST(torn_pair_with_backup)
{
    minted_t *old = mint(NULL);
    minted_t *live = mint(NULL);
    minted_t *other = mint(NULL);
    const char *found;

    start_ok();
    stage(0, old, 1);
    start_ok();
    stage(0, live, 4);
    start_ok();
    found = _i == 0 ? other->key : _i == 1 ? "garbage" : "";
    spill(specs[0]->key_path, found);
    if (_i == 3) {
        unlink(specs[0]->key_path);
    }
    prepare(1);
    ck_assert(items[0].trouble != NULL && !items[0].usable);
    ck_assert_ptr_nonnull(strstr(items[0].trouble, specs[0]->key_path));
    prepare(0); /* already in the dry pass */
    ck_assert(items[0].usable && live_is(0, old));
    ck_assert(logged("AC0607"));
    /* What was found is not lost. */
    ck_assert_int_eq(count_files(archive(0), ".rej"), _i < 2 ? 2 : 1);
    prepare(0);
    adopt();
    ck_assert(live_is(0, old) && items[0].can_stage);
}
END_TEST

START_TEST(torn_pair_without_backup)
{
    minted_t *live = mint(NULL);
    minted_t *next = mint(NULL);
    minted_t *other = mint(NULL);

    start_ok();
    spill(specs[0]->cert_path, live->chain);
    if (_i == 0) {
        spill(specs[0]->key_path, other->key);
    }
    start_ok();
    ck_assert(items[0].placeholder && items[0].remark != NULL && items[0].can_stage);
    ck_assert(items[0].trouble == NULL && !items[0].facts.have);
    ck_assert_str_eq(slurp(specs[0]->cert_path), live->chain);
    if (_i == 0) {
        ck_assert_str_eq(slurp(specs[0]->key_path), other->key);
    }
    stage(0, next, 1);
    start_ok();
    ck_assert(live_is(0, next) && items[0].remark == NULL);
    ck_assert_int_eq(count_files(archive(0), ".rej"), _i == 0 ? 2 : 1);
}
END_TEST

/* The administrator wins. */
START_TEST(pair_put_there)
{
    minted_t *live = mint(NULL);
    mint_t foreign_what = {.names = "DNS:example.org", .not_before = NOW - 5 * DAY};
    minted_t *foreign = mint(&foreign_what);
    minted_t *next = mint(NULL);

    start_ok();
    stage(0, live, 1);
    start_ok();
    spill(specs[0]->cert_path, foreign->chain);
    spill(specs[0]->key_path, foreign->key);
    chmod(specs[0]->key_path, 0644);
    start_ok();
    ck_assert(live_is(0, foreign) && items[0].usable && items[0].facts.have);
    ck_assert(!items[0].facts.names_ok && items[0].facts.directory_ok);
    ck_assert_ptr_null(items[0].issued.key_digest);
    ck_assert(logged("AC0606"));
    ck_assert_int_eq(mode_of(specs[0]->key_path), 0600);
    stage(0, next, 7);
    start_ok();
    ck_assert(live_is(0, next));
    ck_assert_int_eq(count_files(archive(0), ".crt.pem"), 1);
}
END_TEST

START_TEST(loose_key)
{
    minted_t *live = mint(NULL);

    start_ok();
    stage(0, live, 1);
    start_ok();
    chmod(specs[0]->key_path, 0644);
    chmod(ca.auth_path, 0640);
    prepare(1);
    ck_assert_ptr_nonnull(strstr(items[0].trouble, "0644"));
    prepare(0);
    ck_assert(logged("AC0617") && logged("0644"));
    adopt();
    ck_assert(logged("AC0675") && logged("0640"));
    ck_assert_int_eq(mode_of(specs[0]->key_path), 0600);
    ck_assert_int_eq(mode_of(ca.auth_path), 0600);
}
END_TEST

/* Files that are not ours to replace: served as before, nothing ordered. */
START_TEST(alien_files)
{
    minted_t *live = mint(NULL);
    const char *elsewhere = apr_pstrcat(pool, base, "/elsewhere.pem", NULL);
    const char *path = _i == 0 ? specs[0]->cert_path : _i == 1 ? specs[0]->key_path
                       : _i == 2 ? upd(specs[0]->cert_path) : upd(specs[0]->key_path);
    char looked[2048];

    start_ok();
    stage(0, live, 1);
    start_ok();
    close_fds();
    ck_assert_int_eq(rename(path, elsewhere), 0);
    ck_assert_int_eq(symlink(elsewhere, path), 0);
    prepare(1);
    ck_assert(items[0].trouble != NULL);
    apr_cpystrn(looked, items[0].trouble, sizeof(looked));
    start_ok();
    ck_assert_str_eq(items[0].trouble, looked);
    ck_assert_str_eq(items[0].trouble_code, "AC0906");
    ck_assert(items[0].usable && !items[0].can_stage && items[0].fd < 0);
    ck_assert_str_eq(items[0].cert_file, specs[0]->cert_path);
    ck_assert(there(elsewhere));
}
END_TEST

START_TEST(missing_directory_of_files)
{
    minted_t *pair = mint(NULL);

    specs[0]->cert_path = apr_pstrcat(pool, base, "/a/b/x.pem", NULL);
    specs[0]->key_path = apr_pstrcat(pool, base, "/a/b/x.key", NULL);
    ca.auth_path = apr_pstrcat(pool, base, "/c/ca.jwk", NULL);
    start_ok();
    ck_assert_int_eq(mode_of(apr_pstrcat(pool, base, "/a/b", NULL)), 0700);
    ck_assert(account.created);
    ck_assert_int_eq(strlen(account.id), strlen("_account.ca-12345678"));
    stage(0, pair, 1);
    start_ok();
    ck_assert(live_is(0, pair));
    chmod(apr_pstrcat(pool, base, "/a/b", NULL), 0777);
    start_ok();
    ck_assert(items[0].usable && !items[0].can_stage);
    ck_assert_str_eq(items[0].trouble_code, "AC0634");
}
END_TEST

/* ---- tests: the store ---- */

START_TEST(unusable_store)
{
    minted_t *live = mint(NULL);
    char looked[4096];
    const char *before;

    add_item("example.net", "example.net");
    start_ok();
    stage(0, live, 1);
    start_ok();
    close_fds();
    stage(0, mint(NULL), 5);
    chmod(store, _i == 0 ? 0755 : 0770);
    before = tree();
    prepare(1);
    apr_cpystrn(looked, root.trouble, sizeof(looked));
    ck_assert_str_eq(before, tree());
    start_ok();
    ck_assert_str_eq(root.trouble, looked);
    ck_assert_str_eq(root.trouble_code, "AC0106");
    ck_assert_ptr_nonnull(strstr(looked, "chmod 0700"));
    ck_assert(items[0].usable && live_is(0, live));
    ck_assert(!items[0].can_stage && !items[1].can_stage && items[0].trouble == NULL);
    /* The other's placeholder is elsewhere. */
    ck_assert(items[1].placeholder);
    ck_assert_int_eq(strncmp(items[1].cert_file, root.fallback_dir, strlen(root.fallback_dir)), 0);
    chmod(store, 0700);
    start_ok();
    ck_assert(items[0].can_stage && root.trouble == NULL);
}
END_TEST

START_TEST(no_directory_at_all)
{
    const char *cert;

    spill(apr_pstrcat(pool, base, "/file", NULL), "x");
    root.store = apr_pstrcat(pool, base, "/file/store", NULL);
    root.fallback_dir = apr_pstrcat(pool, base, "/file/run", NULL);
    prepare(1);
    ck_assert(!root.usable);
    start_ok(); /* in a temporary directory */
    ck_assert(!root.usable && root.trouble != NULL && items[0].placeholder);
    cert = items[0].cert_file;
    ck_assert_int_eq(mode_of(apr_pstrmemdup(pool, cert, (apr_size_t)(strrchr(cert, '/') - cert))),
                     0700);
}
END_TEST

/* That directory goes with the configuration. */
START_TEST(temporary_directory_goes)
{
    char *cert;

    spill(apr_pstrcat(pool, base, "/file", NULL), "x");
    root.store = apr_pstrcat(pool, base, "/file/store", NULL);
    root.fallback_dir = NULL;
    prepare(0);
    cert = apr_pstrdup(pool, items[0].cert_file);
    ck_assert(there(cert));
    close_fds();
    ck_assert(!there(cert));
    *strrchr(cert, '/') = '\0';
    ck_assert(!there(cert));
}
END_TEST

START_TEST(read_only_instance)
{
    minted_t *live = mint(NULL);
    const char *before;

    start_ok();
    stage(0, live, 1);
    start_ok();
    stage(0, mint(NULL), 5);
    spill(in_store("example.org.retry"), "");
    spill(in_store("journal"), "half written by the other");
    close_fds();
    before = tree();
    root.read_only = 1;
    start_ok();
    ck_assert_str_eq(before, tree());
    ck_assert(items[0].usable && live_is(0, live) && !items[0].can_stage && items[0].fd < 0);
    ck_assert(!items[0].retry_now && account.trouble == NULL);
    root.read_only = 0;
}
END_TEST

START_TEST(look_changes_nothing)
{
    minted_t *live = mint(NULL);
    const char *before;
    int fd, fds;

    if (_i == 0) {
        before = tree();
        prepare(1);
        ck_assert_str_eq(before, tree()); /* no store yet */
        ck_assert(root.usable && items[0].trouble == NULL);
        return;
    }
    start_ok();
    stage(0, live, 1);
    if (_i == 1) {
        spill(in_store("journal"), "broken");
        spill(specs[0]->cert_path, live->chain);
    }
    else {
        start_ok();
        chmod(specs[0]->key_path, 0640);
        unlink(in_store("placeholder/example.org.crt.pem"));
        spill(in_store("example.org.retry"), "");
    }
    close_fds();
    fd = dup(0);
    close(fd);
    before = tree();
    prepare(1);
    account.ca = &ca;
    acme_store_look_accounts(&root, &account, 1, pool);
    fds = dup(0);
    ck_assert_int_eq(fd, fds);
    close(fds);
    ck_assert_str_eq(before, tree());
    ck_assert_ptr_null(account.trouble);
}
END_TEST

/* httpd -t of somebody who may not look into root's store. */
START_TEST(look_as_stranger)
{
    minted_t *live = mint(NULL);

    if (geteuid() != 0) {
        return;
    }
    start_ok();
    stage(0, live, 1);
    start_ok();
    chmod(base, 0755);
    ck_assert_int_eq(seteuid(65534), 0);
    root.uid = 65534;
    prepare(1);
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_msg(root.trouble == NULL && items[0].trouble == NULL, "%s %s", root.trouble,
                  items[0].trouble);
    chmod(store, 0750);
    ck_assert_int_eq(seteuid(65534), 0);
    prepare(1);
    ck_assert_int_eq(seteuid(0), 0);
    ck_assert_ptr_nonnull(strstr(root.trouble, "wanted: owner uid 0, mode 0700"));
    root.uid = 0;
}
END_TEST

/* ---- tests: logs ---- */

START_TEST(overflow_log)
{
    minted_t *one = mint(NULL);
    mint_t what = {.names = "DNS:example.net,DNS:www.example.net"};
    minted_t *two = mint(&what);
    const char *log = in_store("overflow.upd");
    int i;

    add_item("example.net", "example.net");
    add_item("example.com", "example.com");
    root.own_logs_max = 1;
    start_ok();
    ck_assert(items[0].fd >= 0 && items[1].fd < 0 && items[2].fd < 0 && root.overflow_fd >= 0);
    ck_assert(items[1].can_stage && items[2].can_stage);
    stage(0, one, 1);
    append(log, "example.net", ACME_REC_KEY, 1, two->key);
    append(log, "example.com", ACME_REC_ATTEMPT, 4, "{\"failures\":2}");
    append(log, "example.com", ACME_REC_ATTEMPT, 5, "{\"failures\":3}");
    append(log, "gone.example", ACME_REC_ORDER, 2, "{\"a\":1}");
    append(log, "example.net", ACME_REC_CERTIFICATE, 3, certificate_payload(two, NULL, specs[1]));
    start_ok();
    ck_assert(live_is(0, one) && live_is(1, two) && items[2].placeholder);
    ck_assert(handed(1, ACME_REC_LIVE, 3) && handed(1, ACME_REC_KEY, 0));
    ck_assert(handed(2, ACME_REC_ATTEMPT, 5));
    ck_assert_ptr_null(strstr(slurp(log), "PRIVATE"));
    ck_assert_ptr_nonnull(strstr(slurp(log), "gone.example order 2"));
    ck_assert_ptr_null(strstr(slurp(log), "{\"failures\":2}"));
    /* More descriptors: what is theirs moves. */
    root.own_logs_max = 10;
    start_ok();
    ck_assert(root.overflow_fd < 0);
    ck_assert(handed(1, ACME_REC_LIVE, 3) && handed(2, ACME_REC_ATTEMPT, 5));
    ck_assert_ptr_null(strstr(slurp(log), "example.com"));
    ck_assert_ptr_nonnull(strstr(slurp(upd(specs[2]->cert_path)), "attempt 5"));
    /* And fewer again. */
    root.own_logs_max = 0;
    for (i = 0; i < 2; i++) {
        start_ok();
        ck_assert(handed(1, ACME_REC_LIVE, 3) && handed(2, ACME_REC_ATTEMPT, 5));
        ck_assert(items[0].usable && items[1].usable);
        ck_assert(items[0].issued.key_digest != NULL && items[1].issued.key_digest != NULL);
    }
}
END_TEST

static unsigned long size_of(const char *path)
{
    struct stat found;

    ck_assert_int_eq(stat(path, &found), 0);
    return (unsigned long)found.st_size;
}

/* What a hostile child invents does not fill the shared log for ever. */
START_TEST(overflow_strangers)
{
    enum { STRANGERS = 130, SIZE = 200000, BOUND = ACME_OVERFLOW_CAP / 8 };
    const char *log = in_store("overflow.upd");
    char *text = apr_pcalloc(pool, SIZE);
    int i;

    memset(text, 'x', SIZE - 1);
    text[0] = text[SIZE - 2] = '"';
    add_item("example.net", "example.net");
    root.own_logs_max = 1;
    start_ok();
    for (i = 0; i < STRANGERS; i++) {
        append(log, apr_psprintf(pool, "s%d.example", i), ACME_REC_ORDER, 1, text);
    }
    append(log, "example.net", ACME_REC_ATTEMPT, 1, "{\"failures\":1}");
    append(log, "example.net", ACME_REC_ATTEMPT, 2, "{\"failures\":2}");
    ck_assert_uint_gt(size_of(log), BOUND);
    start_ok();
    ck_assert(logged("AC0628"));
    ck_assert_uint_le(size_of(log), BOUND + 4096);
    ck_assert_uint_gt(size_of(log), BOUND / 2);
    ck_assert(handed(1, ACME_REC_ATTEMPT, 2));
}
END_TEST

START_TEST(many_in_one_commit)
{
    mint_t what[ITEMS_MAX] = {{.names = NULL}};
    minted_t *pair[ITEMS_MAX];
    const char *const name[] = {"example.net", "example.com", "example.edu"};
    int i;

    for (i = 0; i < 3; i++) {
        add_item(name[i], name[i]);
        what[i + 1].names = apr_psprintf(pool, "DNS:%s,DNS:www.%s", name[i], name[i]);
    }
    start_ok();
    for (i = 0; i < 4; i++) {
        pair[i] = mint(&what[i]);
        stage(i, pair[i], 1);
    }
    /* One that cannot be written stops nobody. */
    unlink(specs[2]->key_path);
    ck_assert_int_eq(mkdir(apr_pstrcat(pool, specs[2]->key_path, ".new", NULL), 0700), 0);
    start_ok();
    ck_assert(live_is(0, pair[0]) && live_is(1, pair[1]) && live_is(3, pair[3]));
    ck_assert(items[2].placeholder && !items[2].adopted && logged("AC0620"));
    ck_assert(!there(apr_pstrcat(pool, specs[2]->cert_path, ".new", NULL)));
    ck_assert(handed(2, ACME_REC_CERTIFICATE, 3) && handed(2, ACME_REC_KEY, 1));
    rmdir(apr_pstrcat(pool, specs[2]->key_path, ".new", NULL));
    start_ok();
    ck_assert(live_is(2, pair[2]));
}
END_TEST

START_TEST(key_types_share)
{
    acme_spec_t *second;
    mint_t what = {.rsa = 1};
    minted_t *pair;

    add_item("example.org.rsa2048", "example.org");
    second = specs[1];
    second->label = "example.org";
    second->key_type = ACME_KEY_RSA2048;
    second->digest = acme_spec_digest(second, pool);
    start_ok();
    ck_assert(items[0].placeholder && items[1].placeholder);
    ck_assert_str_eq(items[0].cert_file, items[1].cert_file);
    spill(in_store("example.org.retry"), "");
    pair = mint(&what);
    stage(1, pair, 1);
    start();
    ck_assert(items[1].usable && live_is(1, pair) && items[0].retry_now && items[1].retry_now);
    start();
    ck_assert(items[1].usable && items[0].cert_file == NULL && !items[0].placeholder);
    ck_assert(!items[0].retry_now);
}
END_TEST

START_TEST(retry)
{
    start_ok();
    ck_assert(!items[0].retry_now);
    spill(in_store("example.org.retry"), "");
    start_ok();
    ck_assert(items[0].retry_now && !there(in_store("example.org.retry")));
    start_ok();
    ck_assert(!items[0].retry_now);
}
END_TEST

START_TEST(directory_removed)
{
    minted_t *live = mint(NULL);

    start_ok();
    stage(0, live, 1);
    start_ok();
    ck_assert(items[0].facts.directory_ok);
    ca.directory_url = "https://other.example/directory";
    start_ok();
    ck_assert(!items[0].facts.directory_ok && items[0].facts.have);
}
END_TEST

/* With a cache: unchanged files are not read again, changed ones are. */
START_TEST(cached)
{
    minted_t *live = mint(NULL);
    minted_t *other = mint(NULL);

    cache = acme_store_cache_create(pool);
    start_ok();
    stage(0, live, 1);
    start_ok();
    ck_assert(live_is(0, live) && items[0].facts.names_ok);
    start_ok();
    ck_assert(items[0].usable && items[0].facts.not_after == NOW + 90 * DAY);
    ck_assert_str_eq(items[0].issued.key_digest, live->key_digest);
    spill(specs[0]->key_path, other->key);
    prepare(0);
    ck_assert(!items[0].usable && items[0].placeholder);
    spill(specs[0]->key_path, live->key);
    APR_ARRAY_IDX(specs[0]->names, 1, const char *) = "mail.example.org";
    specs[0]->digest = acme_spec_digest(specs[0], pool);
    start_ok();
    ck_assert(items[0].usable && !items[0].facts.names_ok);
}
END_TEST

/* Same inode, same size, same time of change: the key is another one all the same. */
START_TEST(cache_not_deceived)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    minted_t *live = mint(NULL);
    struct timespec times[2];
    struct stat st, now;

    cache = acme_store_cache_create(pool);
    start_ok();
    stage(0, live, 1);
    start_ok();
    start_ok();
    ck_assert(stat(specs[0]->key_path, &st) == 0);
    spill(specs[0]->key_path, pem_of(NULL, key));
    EVP_PKEY_free(key);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
    ck_assert_int_eq(utimensat(AT_FDCWD, specs[0]->key_path, times, 0), 0);
    ck_assert(stat(specs[0]->key_path, &now) == 0 && now.st_ino == st.st_ino
              && now.st_size == st.st_size && now.st_mtim.tv_nsec == st.st_mtim.tv_nsec);
    start_ok();
    ck_assert(!items[0].usable);
}
END_TEST

START_TEST(descriptors_go)
{
    int first = -1, last, i;

    add_item("example.net", "example.net");
    root.own_logs_max = 1;
    for (i = 0; i < 20; i++) {
        start_ok();
        ck_assert(items[0].fd >= 0 && account.fd >= 0 && root.overflow_fd >= 0);
        last = dup(0);
        close(last);
        first = i == 0 ? last : first;
        ck_assert_int_eq(first, last);
    }
    close_fds();
    ck_assert_int_eq(fcntl(items[0].fd, F_GETFD), -1);
}
END_TEST

/* ---- tests: account keys ---- */

START_TEST(account_untouched)
{
    static const char *const found[] = {
        "", "{", "{}", "{\"kty\":\"oct\",\"k\":\"AA\"}", "garbage",
        "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AA\",\"y\":\"AA\",\"d\":\"AA\"}",
    };
    ino_t before;

    start_ok();
    spill(ca.auth_path, found[_i]);
    before = inode(ca.auth_path);
    start_ok();
    ck_assert(account.trouble != NULL && account.jwk == NULL && !account.created);
    ck_assert_ptr_nonnull(strstr(account.trouble, ca.auth_path));
    ck_assert(inode(ca.auth_path) == before);
    ck_assert_str_eq(slurp(ca.auth_path), found[_i]);
    ck_assert(items[0].can_stage);
    account.trouble = NULL;
    acme_store_look_accounts(&root, &account, 1, pool);
    ck_assert(account.trouble != NULL);
}
END_TEST

START_TEST(account_log)
{
    acme_record_set_t set;

    start_ok();
    append(upd(ca.auth_path), account.id, ACME_REC_ACCOUNT, 1, "{\"kid\":\"1\"}");
    append(upd(ca.auth_path), account.id, ACME_REC_ACCOUNT, 2, "{\"kid\":\"2\"}");
    /* Not for an account: must not be taken for one, nor stop the start. */
    append(upd(ca.auth_path), account.id, ACME_REC_CERTIFICATE, 9, "{}\n");
    start_ok();
    acme_record_collect(&set, account.id, account.handed, account.handed_len, pool);
    ck_assert(set.present[ACME_REC_ACCOUNT] && set.rec[ACME_REC_ACCOUNT].seq == 2);
    ck_assert_int_eq(fcntl(account.fd, F_GETFL) & O_ACCMODE, O_WRONLY);
    /* Another key: another account. */
    unlink(ca.auth_path);
    start_ok();
    ck_assert(account.created && logged("AC0609"));
    ck_assert_int_eq(account.handed_len, 0);
    start_ok();
    ck_assert_int_eq(account.handed_len, 0);
    ck_assert(!account.created);
}
END_TEST

/* As a child writes it: root cannot ask the CA. Returns the new key. */
static const char *roll_over(apr_uint64_t seq)
{
    acme_rollover_t rollover;
    const char *before = slurp(ca.auth_path);
    acme_key_t *key;

    memset(&rollover, 0, sizeof(rollover));
    rollover.directory = "https://ca.test/dir";
    ck_assert(acme_key_from_jwk(&key, before, strlen(before), pool, NULL) == ACME_OK);
    rollover.file = acme_key_thumbprint(key, pool);
    ck_assert(acme_key_generate(&key, ACME_KEY_P256, pool, NULL) == ACME_OK);
    rollover.key = acme_key_to_jwk(key, pool);
    append(upd(ca.auth_path), account.id, ACME_REC_ROLLOVER, seq,
           acme_rollover_payload(&rollover, pool));
    start_ok();
    ck_assert_str_eq(slurp(ca.auth_path), rollover.key);
    return rollover.key;
}

/* However many keys a spoilt child invents, the account's own one is still there. */
START_TEST(account_keys_are_kept)
{
    const char *first, *second, *former;
    struct stat st;

    start_ok();
    former = apr_pstrcat(pool, ca.auth_path, ".former", NULL);
    first = slurp(ca.auth_path);
    second = roll_over(1);
    ck_assert_str_eq(slurp(former), first);
    (void)roll_over(2);
    ck_assert_str_eq(slurp(former), first);
    ck_assert_str_eq(slurp(apr_pstrcat(pool, former, ".2", NULL)), second);
    /* One that an attempt has left there is not copied again. */
    spill(ca.auth_path, second);
    (void)roll_over(3);
    ck_assert(lstat(apr_pstrcat(pool, former, ".3", NULL), &st) != 0);
}
END_TEST

START_TEST(account_of_type)
{
    static const acme_key_type_t types[] = {ACME_KEY_P384, ACME_KEY_RSA2048};

    ca.account_key_type = types[_i];
    start_ok();
    ck_assert(account.created && account.jwk != NULL);
    ck_assert_ptr_nonnull(strstr(slurp(ca.auth_path), _i == 0 ? "\"P-384\"" : "\"RSA\""));
}
END_TEST

/* ---- tests: killed anywhere ---- */

static int steps_left;
static int steps_counted;

static void die_at(const char *operation, const char *path)
{
    (void)operation;
    (void)path;
    steps_counted++;
    if (steps_left-- == 0) {
        _exit(42);
    }
}

/* Root dies behind the n-th change of the disk. 0: it came to its end before. */
static int killed_at(int n, void (*work)(void))
{
    pid_t pid = fork();
    int status;

    if (pid == 0) {
        steps_left = n;
        acme_file_step_hook = die_at;
        work();
        _exit(0);
    }
    ck_assert(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
    ck_assert(WEXITSTATUS(status) == 42 || WEXITSTATUS(status) == 0);
    return WEXITSTATUS(status) == 42;
}

static void dry(void)
{
    prepare(0);
}

/* Every point of an adoption of two pairs, and of the recovery after it. */
static void kill_everywhere(const char *copy, const minted_t *old, const minted_t *fresh[2],
                            int second)
{
    int n, points = 0;

    for (n = 0;; n++) {
        apr_pool_t *outer = pool;
        int died;

        apr_pool_create(&pool, outer);
        command_run("rm", "-rf", store, NULL);
        command_run("cp", "-a", copy, store);
        died = killed_at(n, start);
        if (died && second >= 0) {
            (void)killed_at(second, start);
        }
        prepare(0); /* the dry pass of the next start: a pair that mod_ssl can load */
        ck_assert_msg(items[0].usable
                      && pair_matches(items[0].cert_file, items[0].key_file), "point %d: %s", n,
                      lines);
        ck_assert_msg(items[1].cert_file != NULL
                      && pair_matches(items[1].cert_file, items[1].key_file), "point %d", n);
        start_ok();
        ck_assert_msg(live_is(0, fresh[0]) && live_is(1, fresh[1]), "point %d: %s", n, lines);
        /* The former pair is kept, once, and nothing was refused or left lying about. */
        ck_assert_int_eq(count_files(archive(0), ".crt.pem"), 1);
        ck_assert_int_eq(count_files(archive(0), ".key.pem"), 1);
        ck_assert_int_eq(count_files(archive(0), ".rej"), 0);
        ck_assert_int_eq(count_files(store, ".new"), 0);
        ck_assert(!there(in_store("journal")));
        ck_assert(handed(0, ACME_REC_LIVE, 6) && handed(0, ACME_REC_ARI, 9));
        start_ok();
        ck_assert_msg(lines[0] == '\0', "point %d: %s", n, lines);
        ck_assert(account.jwk != NULL && account.trouble == NULL);
        points++;
        apr_pool_destroy(pool);
        pool = outer;
        if (!died) {
            break;
        }
    }
    (void)old;
    ck_assert_int_gt(points, 25);
}

START_TEST(killed_in_adoption)
{
    mint_t what = {.names = "DNS:example.net,DNS:www.example.net"};
    const char *copy = apr_pstrcat(pool, base, "/copy", NULL);
    minted_t *old = mint(NULL);
    const minted_t *fresh[2];

    add_item("example.net", "example.net");
    start_ok();
    stage(0, old, 1);
    start_ok();
    fresh[0] = mint(NULL);
    fresh[1] = mint(&what);
    stage(0, fresh[0], 4);
    stage(1, fresh[1], 4);
    append(upd(specs[0]->cert_path), "example.org", ACME_REC_ARI, 9, "{}");
    close_fds();
    command_run("cp", "-a", store, copy);
    kill_everywhere(copy, old, fresh, _i - 1);
}
END_TEST

/* A broken pair, a backup: killed while it is put back. */
START_TEST(killed_in_repair)
{
    const char *copy = apr_pstrcat(pool, base, "/copy", NULL);
    minted_t *old = mint(NULL);
    minted_t *live = mint(NULL);
    int n, died = 1;

    start_ok();
    stage(0, old, 1);
    start_ok();
    stage(0, live, 4);
    start_ok();
    spill(specs[0]->key_path, "broken");
    close_fds();
    command_run("cp", "-a", store, copy);
    for (n = 0; died; n++) {
        command_run("rm", "-rf", store, NULL);
        command_run("cp", "-a", copy, store);
        died = killed_at(n, dry);
        start_ok();
        ck_assert_msg(items[0].usable && live_is(0, old), "point %d: %s", n, lines);
        ck_assert_int_eq(count_files(archive(0), ".rej"), 2);
    }
    ck_assert_int_gt(n, 10);
}
END_TEST

/* From nothing: store, placeholder, account key, logs. */
START_TEST(killed_in_first_start)
{
    int n, died = 1;

    for (n = 0; died; n++) {
        if (there(store)) {
            command_run("rm", "-rf", store, NULL);
        }
        died = killed_at(n, start);
        start_ok();
        ck_assert(items[0].placeholder && items[0].can_stage && account.jwk != NULL);
        ck_assert_ptr_null(root.trouble);
        ck_assert_int_eq(count_files(store, ".new"), 0);
    }
    ck_assert_int_gt(n, 10);
}
END_TEST

Suite *adopt_suite(void)
{
    Suite *suite = suite_create("adopt");
    TCase *tc = tcase_create("adopt");

    tcase_set_timeout(tc, 120);
    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, first_start);
    tcase_add_loop_test(tc, umask_does_not_matter, 0, 2);
    tcase_add_loop_test(tc, placeholder_again, 0, 6);
    tcase_add_test(tc, placeholder_ends);
    tcase_add_test(tc, adopts_without_a_name);
    tcase_add_test(tc, adopts);
    tcase_add_test(tc, backups_are_bounded);
    tcase_add_loop_test(tc, refuses, 0, COUNT(rules));
    tcase_add_loop_test(tc, rather_than_nothing, 0, 6);
    tcase_add_loop_test(tc, not_anything_rather_than_nothing, 0, 4);
    tcase_add_test(tc, not_negotiable);
    tcase_add_loop_test(tc, accepts, 0, 4);
    tcase_add_test(tc, newest_complete_pair);
    tcase_add_test(tc, older_pair_behind_a_bad_one);
    tcase_add_test(tc, same_key_again);
    tcase_add_test(tc, adopted_twice);
    tcase_add_test(tc, numbers_start_again);
    tcase_add_test(tc, cut_anywhere);
    tcase_add_test(tc, changed_anywhere);
    tcase_add_test(tc, huge_log);
    tcase_add_test(tc, full_log);
    tcase_add_test(tc, many_keys);
    tcase_add_loop_test(tc, torn_pair_with_backup, 0, 4);
    tcase_add_loop_test(tc, torn_pair_without_backup, 0, 2);
    tcase_add_test(tc, pair_put_there);
    tcase_add_test(tc, loose_key);
    tcase_add_loop_test(tc, alien_files, 0, 4);
    tcase_add_test(tc, missing_directory_of_files);
    tcase_add_loop_test(tc, unusable_store, 0, 2);
    tcase_add_test(tc, no_directory_at_all);
    tcase_add_test(tc, temporary_directory_goes);
    tcase_add_test(tc, read_only_instance);
    tcase_add_loop_test(tc, look_changes_nothing, 0, 3);
    tcase_add_test(tc, look_as_stranger);
    tcase_add_test(tc, overflow_log);
    tcase_add_test(tc, overflow_strangers);
    tcase_add_test(tc, many_in_one_commit);
    tcase_add_test(tc, key_types_share);
    tcase_add_test(tc, retry);
    tcase_add_test(tc, directory_removed);
    tcase_add_test(tc, cached);
    tcase_add_test(tc, cache_not_deceived);
    tcase_add_test(tc, descriptors_go);
    tcase_add_loop_test(tc, account_untouched, 0, 6);
    tcase_add_test(tc, account_log);
    tcase_add_test(tc, account_keys_are_kept);
    tcase_add_loop_test(tc, account_of_type, 0, 2);
    tcase_add_loop_test(tc, killed_in_adoption, 0, 3);
    tcase_add_test(tc, killed_in_repair);
    tcase_add_test(tc, killed_in_first_start);
    suite_add_tcase(suite, tc);
    return suite;
}
