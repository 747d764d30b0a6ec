/* Licensed under the Apache License, Version 2.0; see LICENSE. */
#ifndef ACME_H
#define ACME_H

/* libacme for embedders: everything the httpd glue and the tools need. */
#include "base/codec.h"
#include "base/idn.h"
#include "base/json.h"
#include "base/log.h"
#include "base/name.h"
#include "base/time.h"
#include "base/url.h"
#include "crypto/challenge_cert.h"
#include "crypto/digest.h"
#include "crypto/x509.h"
#include "protocol/external.h"
#include "protocol/known_ca.h"
#include "protocol/control.h"
#include "protocol/policy.h"
#include "protocol/spec.h"
#include "io/board.h"
#include "io/staging.h"
#include "store/adopt.h"
#include "store/secret.h"
#include "store/inventory.h"
#include "engine/manager.h"
#include "engine/report.h"

#endif
