#!/bin/sh
# Licensed under the Apache License, Version 2.0; see LICENSE.
# docs/migrating.md has one row for each option of lws-acme-client and each directive of mod_md, none is empty, and every
# directive of ours that it names exists.
# Usage: check_migrating.sh [SOURCE TREE]
LC_ALL=C; export LC_ALL
cd "${1:-${srcdir:-.}}" || exit 2
page=docs/migrating.md list=mod_acmeclient/directives.h
rc=0
say() { echo "$*"; rc=1; }
seed='auth-path cert-path key-path directory-url common-name email country state locality organization subject-alt-name
      host-ssl-cert host-ssl-key ignore-missing-cert'
mod_md='MDomain <MDomain> <MDomainSet> MDMember MDMembers MDBaseServer MDMatchNames MDPortMap MDCertificateAuthority
    MDCertificateProtocol MDCertificateAgreement MDContactEmail MDExternalAccountBinding MDProfile MDProfileMandatory
    MDCACertificateFile MDHttpProxy MDHttpProxyCACertificateFile MDCAChallenges MDChallengeDns01 MDChallengeDns01Version
    MDPrivateKeys MDCertificateFile MDCertificateKeyFile MDRenewMode MDDriveMode MDRenewWindow MDWarnWindow MDRenewViaARI
    MDMustStaple MDActivationDelay MDCheckInterval MDInitialDelay MDRetryDelay MDRetryFailover MDRequireHttps MDStapling
    MDStapleOthers MDStaplingKeepResponse MDStaplingRenewWindow MDStoreDir MDStoreLocks MDNotifyCmd MDMessageCmd
    MDServerStatus MDCertificateStatus MDCertificateCheck MDCertificateMonitor'
for name in $seed $mod_md; do
    test "$(grep -cE "^\| \`$name\` \| .+ \|\$" $page)" = 1 || say "$page: not one row for $name"
done
for name in domains email agree-tos server staging webroot standalone preferred-challenges key-type must-staple deploy-hook; do
    grep -qE "^\|.*\`--$name\`.*\| .+ \|\$" $page || say "$page: no row for certbot's --$name"
done
for name in $(grep -oE '\bAcme[A-Z][A-Za-z0-9]*' $page | sort -u); do
    case $name in AcmeCA | AcmeCertificate) continue ;; esac
    grep -q "^DIRECTIVE($name," $list || say "$page: $name is no directive"
done
if grep -nE '^\|[^|]*\| *\|$' $page; then say "$page: a row without an answer"; fi
exit $rc
