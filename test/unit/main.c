/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Runs the suites of suites.h, each test in a process of its own (CK_FORK=no for a debugger).
 *
 *   unit            all
 *   unit NAME ...   these suites only */

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <apr_general.h>
#include <check.h>

#define SUITE(noun) Suite *noun##_suite(void);
#include "suites.h"
#undef SUITE

typedef struct {
    const char *name;
    Suite *(*make)(void);
} row_t;

#define SUITE(noun) { #noun, noun##_suite },
static const row_t rows[] = {
#include "suites.h"
};
#undef SUITE

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static int wanted(const char *name, int argc, char **argv)
{
    int i;

    for (i = 1; i < argc; i++) {
        if (strcmp(argv[i], name) == 0) {
            return 1;
        }
    }
    return argc == 1;
}

static int known(const char *name)
{
    size_t i;

    for (i = 0; i < ROWS; i++) {
        if (strcmp(rows[i].name, name) == 0) {
            return 1;
        }
    }
    fprintf(stderr, "unit: no suite %s\n", name);
    return 0;
}

int main(int argc, char **argv)
{
    SRunner *runner = srunner_create(NULL);
    size_t i;
    int failed;

    for (i = 1; i < (size_t)argc; i++) {
        if (!known(argv[i])) {
            return 2;
        }
    }
    /* A peer that hangs up is a result to look at, as it is in httpd. */
    signal(SIGPIPE, SIG_IGN);
    apr_initialize();
    for (i = 0; i < ROWS; i++) {
        if (wanted(rows[i].name, argc, argv)) {
            srunner_add_suite(runner, rows[i].make());
        }
    }
    srunner_run_all(runner, CK_ENV);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    apr_terminate();
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
