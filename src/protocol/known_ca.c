/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#include "protocol/known_ca.h"

#include <string.h>

#include "base/codec.h"

/* As of 2026-11-25: the directories, and which want external accounts, as in the tables of
 *   https://go-acme.github.io/lego/advanced/caservers/
 *   https://github.com/acmesh-official/acme.sh/wiki/Server
 * SSL.com has two, for keys on elliptic curves and (ending in -rsa) for RSA keys; the default key
 * type is of the former. The CAs' own pages, to look it up again:
 *   https://letsencrypt.org/docs/staging-environment/
 *   https://zerossl.com/documentation/acme/
 *   https://cloud.google.com/certificate-manager/docs/public-ca
 *   https://www.ssl.com/guide/ssl-tls-certificate-issuance-and-revocation-with-acme/
 *   https://guide.actalis.com/ssl-certificate/acme.aspx */
static const acme_known_ca_t known[] = {
    {.name = "letsencrypt",
     .directory_url = "https://acme-v02.api.letsencrypt.org/directory",
     .terms = 1},
    {.name = "letsencrypt-staging",
     .directory_url = "https://acme-staging-v02.api.letsencrypt.org/directory",
     .staging = 1,
     .terms = 1},
    {.name = "zerossl",
     .directory_url = "https://acme.zerossl.com/v2/DV90",
     .terms = 1,
     .external = "https://app.zerossl.com/developer"},
    {.name = "google",
     .directory_url = "https://dv.acme-v02.api.pki.goog/directory",
     .terms = 1,
     .external = "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial"},
    {.name = "google-staging",
     .directory_url = "https://dv.acme-v02.test-api.pki.goog/directory",
     .staging = 1,
     .terms = 1,
     .external = "https://cloud.google.com/certificate-manager/docs/public-ca-tutorial"},
    {.name = "ssl.com",
     .directory_url = "https://acme.ssl.com/sslcom-dv-ecc",
     .terms = 1,
     .external = "https://www.ssl.com/guide/"
                 "ssl-tls-certificate-issuance-and-revocation-with-acme/"},
    {.name = "actalis",
     .directory_url = "https://acme-api.actalis.com/acme/directory",
     .terms = 1,
     .external = "https://www.actalis.com/manage-with-acme"},
};

const acme_known_ca_t *acme_known_ca(int i)
{
    return i >= 0 && i < (int)(sizeof(known) / sizeof(known[0])) ? &known[i] : NULL;
}

const acme_known_ca_t *acme_known_ca_named(const char *name)
{
    int i;

    for (i = 0; acme_known_ca(i) != NULL; i++) {
        if (acme_ascii_casecmp(known[i].name, name) == 0) {
            return &known[i];
        }
    }
    return NULL;
}

const acme_known_ca_t *acme_known_ca_at(const char *directory_url)
{
    int i;

    for (i = 0; acme_known_ca(i) != NULL; i++) {
        if (strcmp(known[i].directory_url, directory_url) == 0) {
            return &known[i];
        }
    }
    return NULL;
}
