/* Licensed under the Apache License, Version 2.0; see LICENSE. */

/* Every directive, once: DIRECTIVE(name, contexts, least, most, form, default).
 *
 *   contexts  CTX_SERVER  server config only
 *             CTX_CA      inside <AcmeCA>, or flat at server/vhost level
 *             CTX_POLICY  server config, <VirtualHost>, <AcmeCertificate>; inherited
 *             CTX_IDENTITY <VirtualHost> or <AcmeCertificate>; never inherited
 *   least, most  number of arguments (most 0: no limit)
 *   form      how an argument is checked, a function check_<form> of config.c
 *   default   as the manual says it
 *
 * Merge: the nearest context wins with its whole value. A directive written twice in one context: the
 * last wins, but AcmeNames and AcmeEmail accumulate. */
DIRECTIVE(AcmeEngine, CTX_POLICY, 1, 1, onoff, "off")
DIRECTIVE(AcmeUse, CTX_IDENTITY, 1, 1, label, "by coverage")
DIRECTIVE(AcmeCommonName, CTX_IDENTITY, 1, 1, name, "ServerName")
DIRECTIVE(AcmeNames, CTX_IDENTITY, 1, 0, names, "auto")
DIRECTIVE(AcmePartial, CTX_POLICY, 1, 1, onoff, "on for aliases")
DIRECTIVE(AcmeDirectoryURL, CTX_CA | CTX_POLICY, 1, 0, directory, "letsencrypt")
DIRECTIVE(AcmeEmail, CTX_CA, 1, 0, email, "none")
DIRECTIVE(AcmeTermsOfService, CTX_CA, 1, 1, terms, "none")
DIRECTIVE(AcmeAuthPath, CTX_CA, 1, 1, path, "STORE/CA-HOST[-PORT].jwk")
DIRECTIVE(AcmeAccountKeyType, CTX_CA, 1, 1, keytype, "P-256")
DIRECTIVE(AcmeCAFile, CTX_CA, 1, 1, path_or_none, "none")
DIRECTIVE(AcmeExternalAccount, CTX_CA, 1, 3, external, "none")
DIRECTIVE(AcmeProxy, CTX_CA, 1, 2, proxy, "none")
DIRECTIVE(AcmeOrderRate, CTX_CA, 1, 1, rate, "250/3h")
DIRECTIVE(AcmeCertPath, CTX_IDENTITY, 1, 1, path, "STORE/NAME.crt.pem")
DIRECTIVE(AcmeKeyPath, CTX_IDENTITY, 1, 1, path, "STORE/NAME.key.pem")
DIRECTIVE(AcmeCountry, CTX_POLICY, 1, 1, country, "none")
DIRECTIVE(AcmeState, CTX_POLICY, 1, 1, subject, "none")
DIRECTIVE(AcmeLocality, CTX_POLICY, 1, 1, subject, "none")
DIRECTIVE(AcmeOrganization, CTX_POLICY, 1, 1, subject, "none")
DIRECTIVE(AcmeKeyType, CTX_POLICY, 1, 5, keytype, "P-256")
DIRECTIVE(AcmeKeyReuse, CTX_POLICY, 1, 1, onoff, "off")
DIRECTIVE(AcmeRenewBefore, CTX_POLICY, 1, 1, renew, "auto")
DIRECTIVE(AcmeARI, CTX_POLICY, 1, 1, onoff, "on")
DIRECTIVE(AcmeProfile, CTX_POLICY, 1, 2, profile, "none")
DIRECTIVE(AcmePreferredChain, CTX_POLICY, 1, 1, subject, "none")
DIRECTIVE(AcmeMustStaple, CTX_POLICY, 1, 1, onoff, "off")
DIRECTIVE(AcmeChallenges, CTX_POLICY, 1, 6, challenge, "auto")
DIRECTIVE(AcmeDns01Command, CTX_POLICY, 1, 0, command, "none")
DIRECTIVE(AcmeDns01Timeout, CTX_POLICY, 1, 1, dns_timeout, "60s")
DIRECTIVE(AcmeDns01Propagation, CTX_POLICY, 1, 1, dns_propagation, "120s")
DIRECTIVE(AcmeSelfCheck, CTX_POLICY, 1, 1, onoff, "on")
DIRECTIVE(AcmeFailoverAfter, CTX_POLICY, 1, 1, failover, "3")
DIRECTIVE(AcmeActivate, CTX_POLICY, 1, 1, activate, "now")
DIRECTIVE(AcmePlaceholder, CTX_POLICY, 1, 1, placeholder, "503")
DIRECTIVE(AcmeStoreDir, CTX_SERVER, 1, 1, path, "/var/lib/acmeclient")
DIRECTIVE(AcmeBackups, CTX_SERVER, 1, 1, backups, "3")
DIRECTIVE(AcmeWorkers, CTX_SERVER, 1, 1, workers, "8")
DIRECTIVE(AcmeControl, CTX_SERVER, 1, 1, path_or_off, "RUNTIMEDIR/acmeclient.sock")
DIRECTIVE(AcmePortMap, CTX_SERVER, 1, 2, portmap, "as listening")
DIRECTIVE(AcmeNotifyCommand, CTX_SERVER, 1, 0, command, "none")
DIRECTIVE(AcmeCommandEnv, CTX_SERVER, 1, 0, command_env, "none")
DIRECTIVE(AcmeCommandUser, CTX_SERVER, 1, 1, command_user, "none")
