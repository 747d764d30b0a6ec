/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* inventory.json: what comes back, what is refused, who holds the store. */

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <apr_general.h>
#include <apr_strings.h>
#include <check.h>
#include "base/json.h"
#include "store/inventory.h"
#include "command.h"

Suite *inventory_suite(void);

static apr_pool_t *pool;
static char store[64];
static acme_error_t err;

static void setup(void)
{
    apr_initialize();
    acme_json_init();
    apr_pool_create(&pool, NULL);
    apr_cpystrn(store, "/tmp/acme-inventory.XXXXXX", sizeof(store));
    ck_assert_ptr_nonnull(mkdtemp(store));
    acme_error_clear(&err);
}

static void teardown(void)
{
    command_run("rm", "-rf", store, NULL);
    apr_pool_destroy(pool);
    apr_terminate();
}

static const char *path(void)
{
    return apr_pstrcat(pool, store, "/inventory.json", NULL);
}

static acme_ca_t *ca_named(const char *name)
{
    acme_ca_t *ca = apr_pcalloc(pool, sizeof(*ca));

    ca->name = name;
    ca->directory_url = apr_pstrcat(pool, "https://", name, ".test/dir", NULL);
    ca->auth_path = apr_pstrcat(pool, store, "/", name, ".jwk", NULL);
    ca->ca_file = "/etc/ca.pem";
    ca->contacts = apr_array_make(pool, 1, sizeof(const char *));
    APR_ARRAY_PUSH(ca->contacts, const char *) = "mailto:a@b.test";
    ca->terms_agreed = 1;
    ca->eab_kid = "kid";
    ca->eab_key = (const unsigned char *)"a secret";
    ca->eab_key_len = 8;
    ca->account_key_type = ACME_KEY_RSA2048;
    return ca;
}

static acme_inventory_t *made(void)
{
    acme_inventory_t *inventory = apr_pcalloc(pool, sizeof(*inventory));
    acme_spec_t *spec = apr_pcalloc(pool, sizeof(*spec));

    inventory->store = store;
    inventory->socket = "/run/x.sock";
    inventory->uid = 33;
    inventory->gid = 34;
    inventory->cas = apr_array_make(pool, 2, sizeof(acme_ca_t *));
    APR_ARRAY_PUSH(inventory->cas, acme_ca_t *) = ca_named("one");
    APR_ARRAY_PUSH(inventory->cas, acme_ca_t *) = ca_named("two");
    inventory->specs = apr_array_make(pool, 2, sizeof(acme_spec_t *));
    spec->id = "a.test.rsa2048";
    spec->label = "a.test";
    spec->names = apr_array_make(pool, 2, sizeof(const char *));
    APR_ARRAY_PUSH(spec->names, const char *) = "a.test";
    APR_ARRAY_PUSH(spec->names, const char *) = "www.a.test";
    spec->key_type = ACME_KEY_RSA2048;
    spec->cert_path = "/x/a.crt.pem";
    spec->key_path = "/x/a.key.pem";
    spec->digest = "d";
    spec->cas = apr_array_make(pool, 1, sizeof(acme_ca_t *));
    APR_ARRAY_PUSH(spec->cas, acme_ca_t *) = APR_ARRAY_IDX(inventory->cas, 1, acme_ca_t *);
    APR_ARRAY_PUSH(inventory->specs, acme_spec_t *) = spec;
    return inventory;
}

START_TEST(round_trip)
{
    acme_inventory_t *out;
    const acme_spec_t *spec;
    const acme_ca_t *ca;
    acme_file_t file;
    struct stat st;

    ck_assert_int_eq(acme_inventory_read(&out, store, geteuid(), pool, &err), ACME_AGAIN);
    ck_assert_int_eq(acme_inventory_write(made(), geteuid(), pool, &err), ACME_OK);
    ck_assert_int_eq(stat(path(), &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(acme_inventory_read(&out, store, geteuid(), pool, &err), ACME_OK);
    ck_assert_str_eq(out->socket, "/run/x.sock");
    ck_assert(out->uid == 33 && out->gid == 34);
    ck_assert_int_eq(out->cas->nelts, 2);
    ca = APR_ARRAY_IDX(out->cas, 1, const acme_ca_t *);
    ck_assert_str_eq(ca->directory_url, "https://two.test/dir");
    ck_assert_str_eq(APR_ARRAY_IDX(ca->contacts, 0, const char *), "mailto:a@b.test");
    ck_assert(ca->terms_agreed && ca->account_key_type == ACME_KEY_RSA2048 && ca->index == 1);
    spec = APR_ARRAY_IDX(out->specs, 0, const acme_spec_t *);
    ck_assert_str_eq(spec->id, "a.test.rsa2048");
    ck_assert_int_eq(spec->names->nelts, 2);
    ck_assert_ptr_eq(APR_ARRAY_IDX(spec->cas, 0, const acme_ca_t *), ca);
    ck_assert_int_eq(acme_file_read(&file, path(), geteuid(), 65536, 0, 0, pool, &err), ACME_OK);
    ck_assert_ptr_null(strstr(file.data, "secret"));
}
END_TEST

START_TEST(unchanged_is_not_written)
{
    struct stat first, second;

    ck_assert_int_eq(acme_inventory_write(made(), geteuid(), pool, &err), ACME_OK);
    ck_assert_int_eq(stat(path(), &first), 0);
    ck_assert_int_eq(acme_inventory_write(made(), geteuid(), pool, &err), ACME_OK);
    ck_assert_int_eq(stat(path(), &second), 0);
    ck_assert(first.st_ino == second.st_ino);
}
END_TEST

START_TEST(what_is_refused)
{
    static const char *const texts[] = {
        "", "{}", "[]", "{\"version\":2,\"uid\":0,\"gid\":0,\"cas\":[],\"certificates\":[]}",
        "{\"version\":1,\"gid\":0,\"cas\":[],\"certificates\":[]}",
        "{\"version\":1,\"uid\":0,\"gid\":0,\"cas\":[{}],\"certificates\":[]}",
        "{\"version\":1,\"uid\":0,\"gid\":0,\"cas\":[],\"certificates\":[3]}",
    };
    acme_inventory_t *out;

    ck_assert_int_eq(acme_file_replace(path(), texts[_i], strlen(texts[_i]), pool, &err), ACME_OK);
    ck_assert_int_eq(acme_inventory_read(&out, store, geteuid(), pool, &err), ACME_FAIL);
    ck_assert(err.text[0] != '\0');
}
END_TEST

/* Another process holds the instance byte. */
START_TEST(a_server_is_seen)
{
    struct flock lock;
    int ready[2], fd;
    char byte;
    pid_t pid;

    ck_assert_int_eq(acme_store_server(store), 0);
    ck_assert_int_eq(pipe(ready), 0);
    pid = fork();
    if (pid == 0) {
        memset(&lock, 0, sizeof(lock));
        lock.l_type = F_WRLCK;
        lock.l_whence = SEEK_SET;
        lock.l_start = ACME_LOCK_INSTANCE;
        lock.l_len = 1;
        fd = open(apr_pstrcat(pool, store, "/lock", NULL), O_RDWR | O_CREAT, 0600);
        byte = fd >= 0 && fcntl(fd, F_SETLK, &lock) == 0;
        ck_assert_int_eq(write(ready[1], &byte, 1), 1);
        pause();
        _exit(0);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    ck_assert_int_eq(acme_store_server(store), pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    ck_assert_int_eq(acme_store_server(store), 0);
}
END_TEST

Suite *inventory_suite(void)
{
    Suite *suite = suite_create("inventory");
    TCase *tc = tcase_create("inventory");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, round_trip);
    tcase_add_test(tc, unchanged_is_not_written);
    tcase_add_loop_test(tc, what_is_refused, 0, 7);
    tcase_add_test(tc, a_server_is_seen);
    suite_add_tcase(suite, tc);
    return suite;
}
