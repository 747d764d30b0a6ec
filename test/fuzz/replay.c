/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Feeds files to a fuzz target without libFuzzer: those given, or its whole corpus. An empty
 * corpus is a failure: it would test nothing. */

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INPUT_MAX (16 * 1024 * 1024)
#define PATH_SIZE 4096

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input gets a block of exactly its size, so that a sanitizer sees the first byte too many. */
static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    uint8_t *buffer = malloc(INPUT_MAX), *input = NULL;
    size_t size;
    int failed = 1;

    if (!file || !buffer) {
        perror(path);
        goto out;
    }
    size = fread(buffer, 1, INPUT_MAX, file);
    input = malloc(size ? size : 1);
    if (!input || ferror(file)) {
        perror(path);
        goto out;
    }
    memcpy(input, buffer, size);
    printf("%s\n", path);
    fflush(stdout);
    LLVMFuzzerTestOneInput(input, size);
    failed = 0;
out:
    free(input);
    free(buffer);
    if (file) {
        fclose(file);
    }
    return failed;
}

static int replay_corpus(const char *path)
{
    char file[PATH_SIZE];
    const struct dirent *entry;
    DIR *dir = opendir(path);
    int n = 0, failed = 0, length;

    if (!dir) {
        perror(path);
        return 1;
    }
    for (entry = readdir(dir); entry; entry = readdir(dir)) {
        if (entry->d_name[0] != '.') {
            length = snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
            failed |= length < 0 || length >= PATH_SIZE || replay_file(file);
            n++;
        }
    }
    closedir(dir);
    printf("%s: %d inputs\n", path, n);
    return failed || n == 0;
}

int main(int argc, char **argv)
{
    const char *srcdir = getenv("srcdir");
    char corpus[PATH_SIZE];
    int i, failed = 0;

    if (argc == 1) {
        snprintf(corpus, sizeof(corpus), "%s/test/data/corpus/" REPLAY_NOUN, srcdir ? srcdir : ".");
        return replay_corpus(corpus) ? EXIT_FAILURE : EXIT_SUCCESS;
    }
    for (i = 1; i < argc; i++) {
        failed |= replay_file(argv[i]);
    }
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
