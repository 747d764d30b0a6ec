/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* The specs of a certificate: from its draft, one for each of its key types. */

#include "form.h"

static const char *typed_path(form_t *form, const char *path, acme_key_type_t type, int nth,
                              const char *kind)
{
    apr_size_t len = strlen(path);
    const char *suffix = apr_pstrcat(form->ptemp, ".", kind, ".pem", NULL);
    apr_size_t cut = strlen(suffix);

    if (nth == 0) {
        return path;
    }
    if (len <= cut || strcmp(path + len - cut, suffix) != 0) {
        suffix = len > 4 && strcmp(path + len - 4, ".pem") == 0 ? ".pem" : "";
        cut = strlen(suffix);
    }
    return apr_pstrcat(form->pool, apr_pstrmemdup(form->ptemp, path, len - cut), ".",
                       acme_key_type_file(type), suffix, NULL);
}

static void spec_paths(form_t *form, draft_t *draft, acme_spec_t *spec, const char *file, int nth)
{
    const char *cert = acmod_form_path(form, acmod_draft_text(draft, ACMOD_AcmeCertPath, NULL));
    const char *key = acmod_form_path(form, acmod_draft_text(draft, ACMOD_AcmeKeyPath, NULL));

    cert = cert ? cert : apr_psprintf(form->pool, "%s/%s.crt.pem", form->conf->store_dir, file);
    key = key ? key : apr_psprintf(form->pool, "%s/%s.key.pem", form->conf->store_dir, file);
    spec->cert_path = typed_path(form, cert, spec->key_type, nth, "crt");
    spec->key_path = typed_path(form, key, spec->key_type, nth, "key");
}

static void spec_renewal(draft_t *draft, acme_spec_t *spec)
{
    const char *text = acmod_draft_text(draft, ACMOD_AcmeRenewBefore, "auto");
    apr_int64_t percent;
    apr_size_t len = text ? strlen(text) : 0;

    if (!text || acme_ascii_casecmp(text, "auto") == 0) {
        return;
    }
    if (text[len - 1] == '%') {
        acme_scan_number(&percent, text, len - 1, 3, NULL);
        spec->renew_before_percent = (int)percent;
    }
    else {
        acme_duration_parse(&spec->renew_before, text, NULL);
    }
}

static int is_on(const draft_t *draft, acmod_directive_t which, const char *fallback)
{
    return acme_ascii_casecmp(acmod_draft_text(draft, which, fallback), "on") == 0;
}

static void spec_kind(const draft_t *draft, acme_spec_t *spec)
{
    const apr_array_header_t *profile = acmod_draft_value(draft, ACMOD_AcmeProfile)->args;

    spec->key_reuse = is_on(draft, ACMOD_AcmeKeyReuse, "off");
    spec->ari = is_on(draft, ACMOD_AcmeARI, "on");
    spec->profile = acmod_draft_text(draft, ACMOD_AcmeProfile, NULL);
    spec->profile_required = spec->profile && profile->nelts > 1;
    spec->preferred_chain = acmod_draft_text(draft, ACMOD_AcmePreferredChain, NULL);
    spec->must_staple = is_on(draft, ACMOD_AcmeMustStaple, "off");
    if (spec->must_staple) {
        spec->activate = ACME_ACTIVATE_RESTART; /* mod_ssl staples only what it loaded itself */
    }
}

static void spec_policy(draft_t *draft, acme_spec_t *spec)
{
    apr_int64_t n = 3;
    const char *failover = acmod_draft_text(draft, ACMOD_AcmeFailoverAfter, "3");

    spec->country = acmod_draft_text(draft, ACMOD_AcmeCountry, NULL);
    spec->state = acmod_draft_text(draft, ACMOD_AcmeState, NULL);
    spec->locality = acmod_draft_text(draft, ACMOD_AcmeLocality, NULL);
    spec->organization = acmod_draft_text(draft, ACMOD_AcmeOrganization, NULL);
    spec->activate = acme_ascii_casecmp(acmod_draft_text(draft, ACMOD_AcmeActivate, "now"),
                                        "restart") == 0
                     ? ACME_ACTIVATE_RESTART : ACME_ACTIVATE_NOW;
    spec->self_check = is_on(draft, ACMOD_AcmeSelfCheck, "on");
    acme_scan_number(&n, failover, strlen(failover), 9, NULL);
    spec->failover_after = (int)n;
    spec_renewal(draft, spec);
    spec_kind(draft, spec);
}

static int serves_rsa(const draft_t *draft, const apr_array_header_t *types)
{
    acme_key_type_t type;
    int i;

    for (i = 0; types && i < types->nelts; i++) {
        if (acme_key_type_parse(&type, APR_ARRAY_IDX(types, i, const char *)) == ACME_OK
            && acme_key_type_is_rsa(type)) {
            return 1;
        }
    }
    for (i = 0; i < draft->cert->vhosts->nelts; i++) {
        if (APR_ARRAY_IDX(draft->cert->vhosts, i, const acmod_vhost_t *)->has_static) {
            return 1;
        }
    }
    return 0;
}

/* CAs that end an order for a must-staple certificate with badCSR (Let's Encrypt since May
 * 2025). */
static void remark_on_staple(form_t *form, draft_t *draft, const apr_array_header_t *cas)
{
    int i;

    for (i = 0; is_on(draft, ACMOD_AcmeMustStaple, "off") && i < cas->nelts; i++) {
        const acme_ca_t *ca = APR_ARRAY_IDX(cas, i, const acme_ca_t *);

        if (strstr(ca->directory_url, ".letsencrypt.org/")) {
            acmod_form_remark(form, APLOG_WARNING, "AC0160", draft->server,
                              "%s: AcmeMustStaple on (%s): %s refuses such requests; use "
                              "another CA, or AcmeMustStaple off", draft->cert->label,
                              acmod_draft_value(draft, ACMOD_AcmeMustStaple)->where, ca->name);
        }
    }
}

void acmod_spec_form(form_t *form, draft_t *draft)
{
    const apr_array_header_t *types = acmod_draft_value(draft, ACMOD_AcmeKeyType)->args;
    apr_array_header_t *cas = acmod_ca_list(form, draft);
    const apr_array_header_t *may_lack;
    const char *file, *common;
    int i, n = types ? types->nelts : 1;

    acme_names_drop_covered(draft->names);
    if (draft->names->nelts == 0) {
        acmod_draft_error(draft, form, "there is no name to order (%s)", draft->where);
        APR_ARRAY_PUSH(draft->names, const char *) = draft->cert->label;
    }
    if (draft->names->nelts > 100) {
        acmod_draft_error(draft, form, "%d names, CAs certify at most 100 (some 25) at once (%s)",
                          draft->names->nelts, draft->where);
    }
    remark_on_staple(form, draft, cas);
    file = acme_name_file(draft->cert->label, form->pool);
    common = acmod_names_common(form, draft);
    may_lack = acmod_names_dispensable(form, draft);
    for (i = 0; i < n; i++) {
        acme_spec_t *spec = apr_pcalloc(form->pool, sizeof(*spec));

        if (types) {
            acme_key_type_parse(&spec->key_type, APR_ARRAY_IDX(types, i, const char *));
        }
        spec->label = draft->cert->label;
        spec->id = i == 0 ? file : apr_pstrcat(form->pool, file, ".",
                                               acme_key_type_file(spec->key_type), NULL);
        spec->names = draft->names;
        spec->cas = cas;
        spec->where = draft->where;
        spec->common_name = common;
        spec->may_lack = may_lack;
        spec_policy(draft, spec);
        acmod_challenge_spec(form, draft, spec);
        if (i == 0) {
            acmod_challenge_judge(form, draft, spec);
        }
        spec_paths(form, draft, spec, file, i);
        spec->index = form->conf->specs->nelts;
        APR_ARRAY_PUSH(form->conf->specs, acme_spec_t *) = spec;
        APR_ARRAY_PUSH(draft->cert->specs, acme_spec_t *) = spec;
    }
}

void acmod_spec_close(form_t *form)
{
    int i, k;

    for (i = 0; i < form->drafts->nelts; i++) {
        const draft_t *draft = APR_ARRAY_IDX(form->drafts, i, const draft_t *);

        for (k = 0; k < draft->cert->specs->nelts; k++) {
            acme_spec_t *spec = APR_ARRAY_IDX(draft->cert->specs, k, acme_spec_t *);

            spec->error = draft->error;
            spec->rsa_challenge = serves_rsa(draft,
                                             acmod_draft_value(draft, ACMOD_AcmeKeyType)->args);
            spec->digest = acme_spec_digest(spec, form->pool);
        }
    }
}
