/* Licensed under the Apache License, Version 2.0; see LICENSE. */

#include <string.h>

#include <apr_general.h>
#include <apr_strings.h>
#include <apr_thread_proc.h>
#include <check.h>
#include <openssl/bn.h>
#include <openssl/ecdsa.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include "base/codec.h"
#include "crypto/digest.h"
#include "crypto/key.h"

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

Suite *key_suite(void);

static apr_pool_t *pool;

static void setup(void)
{
    apr_initialize();
    apr_pool_create(&pool, NULL);
}

static void teardown(void)
{
    apr_pool_destroy(pool);
}

/* ---- keys from elsewhere ---- */

/* RFC 7517 appendix A.2, the RSA key; RFC 7638 section 3.1 has its thumbprint. */
static const char rfc7517_rsa[] =
    "{\"kty\":\"RSA\",\"n\":\"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86"
    "zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_R"
    "N5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91Cb"
    "OpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEg"
    "U8awapJzKnqDKgw\",\"e\":\"AQAB\",\"d\":\"X4cTteJY_gn4FYPsXB8rdXix5vwsg1FLN5E3EaG6RJoVH-H"
    "LLKD9M7dx5oo7GURknchnrRweUkC7hT5fJLM0WbFAKNLWY2vv7B6NqXSzUvxT0_YSfqijwp3RTzlBaCxWp4doFk5"
    "N2o8Gy_nHNKroADIkJ46pRUohsXywbReAdYaMwFs9tv8d_cPVY3i07a3t8MN6TNwm0dSawm9v47UiCl3Sk5ZiG7x"
    "ojPLu4sbg1U2jx4IBTNBznbJSzFHK66jT8bgkuqsk0GjskDJk19Z4qwjwbsnn4j2WBii3RL-Us2lGVkY8fkFzme1"
    "z0HbIkfz0Y6mqnOYtqc0X4jfcKoAC8Q\",\"p\":\"83i-7IvMGXoMXCskv73TKr8637FiO7Z27zv8oj6pbWUQyL"
    "PQBQxtPVnwD20R-60eTDmD2ujnMt5PoqMrm8RfmNhVWDtjjMmCMjOpSXicFHj7XOuVIYQyqVWlWEh6dN36GVZYk9"
    "3N8Bc9vY41xy8B9RzzOGVQzXvNEvn7O0nVbfs\",\"q\":\"3dfOR9cuYq-0S-mkFLzgItgMEfFzB2q3hWehMuG0"
    "oCuqnb3vobLyumqjVZQO1dIrdwgTnCdpYzBcOfW5r370AFXjiWft_NGEiovonizhKpo9VVS78TzFgxkIdrecRezs"
    "Z-1kYd_s1qDbxtkDEgfAITAG9LUnADun4vIcb6yelxk\",\"dp\":\"G4sPXkc6Ya9y8oJW9_ILj4xuppu0lzi_H"
    "7VTkS8xj5SdX3coE0oimYwxIi2emTAue0UOa5dpgFGyBJ4c8tQ2VF402XRugKDTP8akYhFo5tAA77Qe_NmtuYZc3"
    "C3m3I24G2GvR5sSDxUyAN2zq8Lfn9EUms6rY3Ob8YeiKkTiBj0\",\"dq\":\"s9lAH9fggBsoFR8Oac2R_E2gw2"
    "82rT2kGOAhvIllETE1efrA6huUUvMfBcMpn8lqeW6vzznYY5SSQF7pMdC_agI3nG8Ibp1BUb0JUiraRNqUfLhcQb"
    "_d9GF4Dh7e74WbRsobRonujTYN1xCaP6TO61jvWrX-L18txXw494Q_cgk\",\"qi\":\"GyM_p6JrXySiz1toFgK"
    "bWV-JdI3jQ4ypu9rbMWx3rQJBfmt0FoYzgUIZEVFEcOqwemRN81zoDAaa-Bk0KWNGDjJHZDdDmFhW3AN7lI-puxk"
    "_mHZGJ11rxyR8O55XLSe3SPmRfKwZI6yU24ZxvQKFYItdldUKGzO6Ia6zTKhAVRU\",\"alg\":\"RS256\",\"k"
    "id\":\"2011-04-29\"}";

/* RFC 7515 appendices A.2 and A.3: key, signing input, signature. */
static const char a2_jwk[] =
    "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQ"
    "p-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wG"
    "zjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4u"
    "DZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9"
    "gb54h4FRWyuXpoQ\",\"e\":\"AQAB\",\"d\":\"Eq5xpGnNCivDflJsRQBXHx1hdR1k6Ulwe2JZD50LpXyWPEA"
    "eP88vLNO97IjlA7_GQ5sLKMgvfTeXZx9SE-7YwVol2NXOoAJe46sui395IW_GO-pWJ1O0BkTGoVEn2bKVRUCgu-G"
    "jBVaYLU6f3l9kJfFNS3E0QbVdxzubSu3Mkqzjkn439X0M_V51gfpRLI9JYanrC4D4qAdGcopV_0ZHHzQlBjudU2Q"
    "vXt4ehNYTCBr6XCLQUShb1juUO1ZdiYoFaFQT5Tw8bGUl_x_jTj3ccPDVZFD9pIuhLhBOneufuBiB4cS98l2SR_R"
    "QyGWSeWjnczT0QU91p1DhOVRuOopznQ\",\"p\":\"4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH_5IB3jw3bcxGn"
    "6QLvnEtfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw_Py5PJdTJNPY8cQn7ouZ2KKDcmnPGBY5t7yLc1QlQ5xHdwW"
    "1VhvKn-nXqhJTBgIPgtldC-KDV5z-y2XDwGUc\",\"q\":\"uQPEfgmVtjL0Uyyx88GZFF1fOunH3-7cepKmtH4p"
    "xhtCoHqpWmT8YAmZxaewHgHAjLYsp1ZSe7zFYHj7C6ul7TjeLQeZD_YwD66t62wDmpe_HlB-TnBA-njbglfIsRLt"
    "XlnDzQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdc\",\"dp\":\"BwKfV3Akq5_MFZDFZCnW-wzl-CCo83WoZ"
    "vnLQwCTeDv8uzluRSnm71I3QCLdhrqE2e9YkxvuxdBfpT_PI7Yz-FOKnu1R6HsJeDCjn12Sk3vmAktV2zb34MCdy"
    "7cpdTh_YVr7tss2u6vneTwrA86rZtu5Mbr1C1XsmvkxHQAdYo0\",\"dq\":\"h_96-mK1R_7glhsum81dZxjTnY"
    "ynPbZpHziZjeeHcXYsXaaMwkOlODsWa7I9xXDoRwbKgB719rrmI2oKr6N3Do9U0ajaHF-NKJnwgjMd2w9cjz3_-k"
    "yNlxAr2v4IKhGNpmM5iIgOS1VZnOZ68m6_pbLBSp3nssTdlqvd0tIiTHU\",\"qi\":\"IYd7DHOhrWvxkwPQsRM"
    "2tOgrjbcrfvtQJipd-DlcxyVuuM9sQLdgjVk2oy26F0EmpScGLq2MowX7fhd_QJQ3ydy5cY7YIBi87w93IKLEdfn"
    "bJtoOPLUW0ITrJReOgo1cq9SbsxYawBgfp_gh6A5603k2-ZQwVK0JKSHuLFkuQ3U\"}";

static const char a2_input[] =
    "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGx"
    "lLmNvbS9pc19yb290Ijp0cnVlfQ";

static const char a2_signature[] =
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W"
    "2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkS"
    "jtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnv"
    "Wh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

static const char a3_jwk[] =
    "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\",\"d\":\"jpsQnnGQmL-YBIffH1136cspYG"
    "6-0iY7X1fCE9-E9LI\"}";

static const char a3_input[] =
    "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGx"
    "lLmNvbS9pc19yb290Ijp0cnVlfQ";

static const char a3_signature[] =
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/* The same keys as python3-cryptography writes them. */
static const char a2_pem[] =
    "-----BEGIN RSA PRIVATE KEY-----\n"
    "MIIEowIBAAKCAQEAofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd/wWJcyQoTbji9k0\n"
    "l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL+yRT+SFd2lZS+pC\n"
    "gNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb/7OMg0LOL+bSf63kpaSHSX\n"
    "ndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uD\n"
    "Zlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxXFvUK+DWNmoudF8NAco9/h9iaGNj8\n"
    "q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQIDAQABAoIBABKucaRpzQorw35S\n"
    "bEUAVx8dYXUdZOlJcHtiWQ+dC6V8ljxAHj/PLyzTveyI5QO/xkObCyjIL303l2cf\n"
    "UhPu2MFaJdjVzqACXuOrLot/eSFvxjvqVidTtAZExqFRJ9mylUVAoLvhowVWmC1O\n"
    "n95fZCXxTUtxNEG1Xcc7m0rtzJKs45J+N/V9DP1edYH6USyPSWGp6wuA+KgHRnKK\n"
    "Vf9GRx80JQY7nVNkL17eHoTWEwga+lwi0FEoW9Y7lDtWXYmKBWhUE+U8PGxlJf8f\n"
    "40493HDw1WRQ/aSLoS4QTp3rn7gYgeHEvfJdkkf0UMhlknlo53M09EFPdadQ4TlU\n"
    "bjqKc50CgYEA4BzEEOtIpmVdVEZNCqS7baC4crd0pqnRH/5IB3jw3bcxGn6QLvnE\n"
    "tfdUdiYrqBdss1l58BQ3KhooKeQTa9AB0Hw/Py5PJdTJNPY8cQn7ouZ2KKDcmnPG\n"
    "BY5t7yLc1QlQ5xHdwW1VhvKn+nXqhJTBgIPgtldC+KDV5z+y2XDwGUcCgYEAuQPE\n"
    "fgmVtjL0Uyyx88GZFF1fOunH3+7cepKmtH4pxhtCoHqpWmT8YAmZxaewHgHAjLYs\n"
    "p1ZSe7zFYHj7C6ul7TjeLQeZD/YwD66t62wDmpe/HlB+TnBA+njbglfIsRLtXlnD\n"
    "zQkv5dTltRJ11BKBBypeeF6689rjcJIDEz9RWdcCgYAHAp9XcCSrn8wVkMVkKdb7\n"
    "DOX4IKjzdahm+ctDAJN4O/y7OW5FKebvUjdAIt2GuoTZ71iTG+7F0F+lP88jtjP4\n"
    "U4qe7VHoewl4MKOfXZKTe+YCS1XbNvfgwJ3Ltyl1OH9hWvu2yza7q+d5PCsDzqtm\n"
    "27kxuvULVeya+TEdAB1ijQKBgQCH/3r6YrVH/uCWGy6bzV1nGNOdjKc9tmkfOJmN\n"
    "54dxdixdpozCQ6U4OxZrsj3FcOhHBsqAHvX2uuYjagqvo3cOj1TRqNocX40omfCC\n"
    "Mx3bD1yPPf/6TI2XECva/ggqEY2mYzmIiA5LVVmc5nrybr+lssFKneeyxN2Wq93S\n"
    "0iJMdQKBgCGHewxzoa1r8ZMD0LETNrToK423K377UCYqXfg5XMclbrjPbEC3YI1Z\n"
    "NqMtuhdBJqUnBi6tjKMF+34Xf0CUN8ncuXGO2CAYvO8PdyCixHX52ybaDjy1FtCE\n"
    "6yUXjoKNXKvUm7MWGsAYH6f4IegOetN5NvmUMFStCSkh7ixZLkN1\n"
    "-----END RSA PRIVATE KEY-----\n";

static const char a3_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff\n"
    "H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp\n"
    "7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt\n"
    "-----END PRIVATE KEY-----\n";

/* A coordinate that begins with a zero byte. */
static const char zero_x[] =
    "{\"kty\":\"EC\",\"crv\":\"P-384\",\"x\":\"AHmLgD6AidWkHlpPq8i76vqnIBstZtHaEdKGEn6X4wF9p0"
    "W4oc64sHjLGdHB61qo\",\"y\":\"TJVFOCkJJXklLZirV80d_KDA4U6tWnZwqEKNYukKJPU-_jajYEl5kD3SySi"
    "WEU9x\",\"d\":\"FMJkqNDzr2uciZaCY8rYYSak8g-_a_bl-aOcAAy5_V3AlO2jtorRoh3aYPpy5f-G\"}";

static const char zero_x_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDAUwmSo0POva5yJloJj\n"
    "ythhJqTyD79r9uX5o5wADLn9XcCU7aO2itGiHdpg+nLl/4ahZANiAAQAeYuAPoCJ\n"
    "1aQeWk+ryLvq+qcgGy1m0doR0oYSfpfjAX2nRbihzriweMsZ0cHrWqhMlUU4KQkl\n"
    "eSUtmKtXzR38oMDhTq1adnCoQo1i6Qok9T7+NqNgSXmQPdLJKJYRT3E=\n"
    "-----END PRIVATE KEY-----\n";

/* openssl ecparam -name prime256v1 -genkey */
static const char params_pem[] =
    "-----BEGIN EC PARAMETERS-----\n"
    "BggqhkjOPQMBBw==\n"
    "-----END EC PARAMETERS-----\n"
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MHcCAQEEIF8YrsBIDYkSgKoJrlqpD33mymQvitdFNXisftc412pfoAoGCCqGSM49\n"
    "AwEHoUQDQgAE6S+htQJzbjbxDHH/uPKiTwctFUNcD+jOOS6YopyMAmCDTiTCjbrH\n"
    "iNZodXg/zrbr5h9e86dC/R7Qplavb6p1OQ==\n"
    "-----END EC PRIVATE KEY-----\n";

/* openssl ecparam -name prime256v1 -genkey -param_enc explicit -noout */
static const char explicit_pem[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIIBaAIBAQQgZ/gmq7dOzu87VBuzIHkQJWYMoq/hNwMsAsU4+M8NEzmggfowgfcC\n"
    "AQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////////\n"
    "MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57Pr\n"
    "vVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEE\n"
    "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54W\n"
    "K84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8\n"
    "YyVRAgEBoUQDQgAE5/WMv7p1Yzt4ezKBPgtL7R5xF7PvCkGayLCwfolqGgHw0yCJ\n"
    "aG511vm7tij/l8oHCaZencBflyHKzOxpIp7ISg==\n"
    "-----END EC PRIVATE KEY-----\n";

/* openssl ecparam -name secp521r1 -genkey -noout */
static const char p521_pem[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "MIHcAgEBBEIBL/QalJTxz10mruGQqjgHIsqm5CRwBjY1o6nt5mJsplWL5EfEHzsT\n"
    "PQmXWDCxL0bqLwRFBw/VwiUY07pjqxdK/dCgBwYFK4EEACOhgYkDgYYABAGFwbuw\n"
    "hwTp59+L2vZrkb9x5ugTD6Rw41Jg+rJTmSOeA8X2Xvc8P8jtpuZhSlF6tTt24OnC\n"
    "vZp2g+J/R14v3yNjPAE4W36ggzQH3WJmnrxMdMEbjm1lcrtQCi7ZsvYl0YVXsGsB\n"
    "JoUxkRk7YwqFvjQqg7iPUnhsd9VUXoPdfRZOUub5hA==\n"
    "-----END EC PRIVATE KEY-----\n";

/* openssl pkcs8 -topk8 */
static const char encrypted_pem[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAh3wPbbAqaF6QICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEECDrmSx2xC5T7GpTBAIR2xoEgZC7\n"
    "arDHIb+CMztjfE8ZUkXB4MbMgSw4Uc3de2j4+wAWCnKkYk6RfN32Ck9rdpuBNnX9\n"
    "00cOqhInYdEAbgJQw6N21ZCn+g3M/7MLeCx52So58F1n8NkwzwLn/B1K2J2Ge3S+\n"
    "W/dbNx7I9gsLSqY718a8Q2UTG+ihjxsU5Zn37fGhrEwk2JW2blihJliY5M/mlLI=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

/* openssl ec -aes128 */
static const char dek_pem[] =
    "-----BEGIN EC PRIVATE KEY-----\n"
    "Proc-Type: 4,ENCRYPTED\n"
    "DEK-Info: AES-128-CBC,AE5B1F5E0BA677653385CA69284AC409\n"
    "\n"
    "9auo9vhUqw+vPS8O0CBsSHnmmSQ7RIyq/S/+laJ7FwpRor7FeaGeQCOjoS8KEIRS\n"
    "EoFe2ATAXzRrwcUTKrzlYt/N4D0fYxvhfvYduAG+q4nA5+AbLkTzf019lhp6cVjc\n"
    "9d+URyVR1XFQ3RoyEVVAROdbO5w1r2gQeRYtQ3q+ydc=\n"
    "-----END EC PRIVATE KEY-----\n";

/* openssl genpkey -algorithm ed25519 */
static const char ed25519_pem[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MC4CAQAwBQYDK2VwBCIEIPFLQK3xz5WkVj9+N6Hwrh6paAfyPmRidLvNJA7DqEQo\n"
    "-----END PRIVATE KEY-----\n";

/* ---- helpers ---- */

static acme_key_t *from_jwk(const char *text)
{
    acme_key_t *key = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_msg(acme_key_from_jwk(&key, text, strlen(text), pool, &err) == ACME_OK, "%s",
                  err.text);
    return key;
}

static acme_key_t *from_pem(const char *text)
{
    acme_key_t *key = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_msg(acme_key_from_pem(&key, text, strlen(text), pool, &err) == ACME_OK, "%s",
                  err.text);
    return key;
}

static acme_key_t *generate(acme_key_type_t type)
{
    acme_key_t *key = NULL;

    ck_assert_int_eq(acme_key_generate(&key, type, pool, NULL), ACME_OK);
    return key;
}

/* The members of names (each behind a blank) in that order, member replaced by value. */
static const char *rewritten(const char *jwk, const char *names, const char *member,
                             const char *value)
{
    acme_json_t *from, *to = acme_json_new_object(pool);
    char *rest = apr_pstrdup(pool, names);

    ck_assert_int_eq(acme_json_parse(&from, jwk, strlen(jwk), "key", pool, NULL), ACME_OK);
    while (*rest) {
        char *name = rest + 1;
        const char *text;

        rest = name + strcspn(name, " ");
        name = apr_pstrmemdup(pool, name, (apr_size_t)(rest - name));
        ck_assert_int_eq(acme_json_get_string(&text, from, name, ACME_JSON_OPTIONAL, NULL),
                         ACME_OK);
        if (member && strcmp(name, member) == 0) {
            text = value;
        }
        if (text) {
            acme_json_set_string(to, name, text);
        }
    }
    return acme_json_dump(to, pool);
}

/* By OpenSSL alone. */
static int verifies(const acme_key_t *key, const EVP_MD *md, const char *input, const char *text)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    unsigned char *sig, *der = NULL;
    apr_size_t len;
    int ok;

    ck_assert_int_eq(acme_base64url_decode(&sig, &len, text, strlen(text), pool, NULL), ACME_OK);
    if (EVP_PKEY_base_id(acme_key_evp(key)) == EVP_PKEY_EC) {
        ECDSA_SIG *pair = ECDSA_SIG_new();
        int half = (int)len / 2;

        ck_assert_int_eq(ECDSA_SIG_set0(pair, BN_bin2bn(sig, half, NULL),
                                        BN_bin2bn(sig + half, half, NULL)), 1);
        len = (apr_size_t)i2d_ECDSA_SIG(pair, &der);
        sig = apr_pmemdup(pool, der, len);
        OPENSSL_free(der);
        ECDSA_SIG_free(pair);
    }
    ok = EVP_DigestVerifyInit(ctx, NULL, md, NULL, acme_key_evp(key)) == 1
         && EVP_DigestVerify(ctx, sig, len, (const unsigned char *)input, strlen(input)) == 1;
    EVP_MD_CTX_free(ctx);
    return ok;
}

/* ---- types ---- */

static const struct {
    const char *text;
    acme_rv_t rv;
    acme_key_type_t type;
    const char *file;
    int is_rsa;
} names[] = {
    { "P-256", ACME_OK, ACME_KEY_P256, "p256", 0 },
    { "P-384", ACME_OK, ACME_KEY_P384, "p384", 0 },
    { "RSA-2048", ACME_OK, ACME_KEY_RSA2048, "rsa2048", 1 },
    { "RSA-3072", ACME_OK, ACME_KEY_RSA3072, "rsa3072", 1 },
    { "RSA-4096", ACME_OK, ACME_KEY_RSA4096, "rsa4096", 1 },
    { "p-256", ACME_OK, ACME_KEY_P256, "p256", 0 },
    { "rsa-4096", ACME_OK, ACME_KEY_RSA4096, "rsa4096", 1 },
    { "", ACME_FAIL, 0, NULL, 0 },
    { "P-521", ACME_FAIL, 0, NULL, 0 },
    { "P-2567", ACME_FAIL, 0, NULL, 0 },
    { "RSA", ACME_FAIL, 0, NULL, 0 },
    { "RSA-1024", ACME_FAIL, 0, NULL, 0 },
    { "4096", ACME_FAIL, 0, NULL, 0 },
    { " P-256", ACME_FAIL, 0, NULL, 0 },
};

START_TEST(type_names)
{
    acme_key_type_t type = ACME_KEY_TYPES;

    ck_assert_int_eq(acme_key_type_parse(&type, names[_i].text), names[_i].rv);
    if (names[_i].rv != ACME_OK) {
        ck_assert_int_eq(type, ACME_KEY_TYPES);
        return;
    }
    ck_assert_int_eq(type, names[_i].type);
    ck_assert_int_eq(acme_ascii_casecmp(acme_key_type_name(type), names[_i].text), 0);
    ck_assert_str_eq(acme_key_type_file(type), names[_i].file);
    ck_assert_int_eq(acme_key_type_is_rsa(type), names[_i].is_rsa);
}
END_TEST

/* RSA of a size between ours counts as the next lower; others can be read, but have no type. */
static const struct {
    int bits;
    acme_rv_t rv;
    acme_key_type_t type;
} sizes[] = {
    { 1024, ACME_FAIL, 0 },
    { 2047, ACME_FAIL, 0 },
    { 2048, ACME_OK, ACME_KEY_RSA2048 },
    { 2056, ACME_OK, ACME_KEY_RSA2048 },
    { 3071, ACME_OK, ACME_KEY_RSA2048 },
    { 3080, ACME_OK, ACME_KEY_RSA3072 },
};

START_TEST(rsa_of_other_sizes)
{
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_RSA, NULL);
    BIO *bio = BIO_new(BIO_s_mem());
    acme_key_type_t type = ACME_KEY_TYPES;
    EVP_PKEY *pkey = NULL;
    acme_key_t *key;
    char *text;
    long len;

    ck_assert(EVP_PKEY_keygen_init(ctx) == 1
              && EVP_PKEY_CTX_set_rsa_keygen_bits(ctx, sizes[_i].bits) == 1
              && EVP_PKEY_keygen(ctx, &pkey) == 1
              && PEM_write_bio_PrivateKey(bio, pkey, NULL, NULL, 0, NULL, NULL) == 1);
    len = BIO_get_mem_data(bio, &text);
    key = from_pem(apr_pstrmemdup(pool, text, (apr_size_t)len));
    ck_assert_int_eq(acme_key_type(&type, key), sizes[_i].rv);
    ck_assert_int_eq(type, sizes[_i].rv == ACME_OK ? sizes[_i].type : ACME_KEY_TYPES);
    BIO_free(bio);
    EVP_PKEY_free(pkey);
    EVP_PKEY_CTX_free(ctx);
}
END_TEST

static const char *const untyped[] = { p521_pem, explicit_pem };

START_TEST(curves_we_do_not_use)
{
    acme_key_t *key = from_pem(untyped[_i]);
    acme_key_type_t type = ACME_KEY_TYPES;
    acme_error_t err;
    const char *out = "untouched";

    ck_assert_int_eq(acme_key_type(&type, key), ACME_FAIL);
    ck_assert_int_eq(type, ACME_KEY_TYPES);
    ck_assert_str_eq(acme_key_jws_alg(key), "");
    ck_assert(acme_key_to_jwk(key, pool) == NULL);
    ck_assert(acme_key_public_jwk(key, pool) == NULL);
    ck_assert(acme_key_thumbprint(key, pool) == NULL);
    acme_error_clear(&err);
    ck_assert_int_eq(acme_key_jws_sign(&out, key, "x", 1, pool, &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_INTERNAL);
    ck_assert_str_eq(out, "untouched");
}
END_TEST

/* ---- generation ---- */

static const struct {
    acme_key_type_t type;
    const char *alg;
    int sig_len;
} generated[] = {
    { ACME_KEY_P256, "ES256", 64 },
    { ACME_KEY_P384, "ES384", 96 },
    { ACME_KEY_RSA2048, "RS256", 256 },
    { ACME_KEY_RSA3072, "RS256", 384 },
};

START_TEST(every_form_gives_the_key_back)
{
    acme_key_t *key = generate(generated[_i].type), *again;
    const char *pem = acme_key_to_pem(key, pool), *jwk = acme_key_to_jwk(key, pool);
    const char *digest = acme_key_digest(key, pool);
    acme_key_type_t type;
    unsigned char *der;
    apr_size_t len;

    ck_assert_int_eq(acme_key_type(&type, key), ACME_OK);
    ck_assert_int_eq(type, generated[_i].type);
    ck_assert_int_eq(strncmp(pem, "-----BEGIN PRIVATE KEY-----\n", 28), 0);
    ck_assert_str_eq(acme_key_digest(from_pem(pem), pool), digest);
    ck_assert_str_eq(acme_key_to_pem(from_pem(pem), pool), pem);
    ck_assert_str_eq(acme_key_digest(from_jwk(jwk), pool), digest);
    ck_assert_str_eq(acme_key_to_pem(from_jwk(jwk), pool), pem);
    ck_assert_int_eq(acme_key_to_der(&der, &len, key, pool, NULL), ACME_OK);
    ck_assert_int_eq(acme_key_from_der(&again, der, len, pool, NULL), ACME_OK);
    ck_assert_str_eq(acme_key_to_pem(again, pool), pem);
    ck_assert_int_eq(acme_key_type(&type, from_jwk(jwk)), ACME_OK);
    ck_assert_int_eq(type, generated[_i].type);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(signatures_verify)
{
    acme_key_t *key = generate(generated[_i].type);
    int is_p384 = generated[_i].type == ACME_KEY_P384;
    const EVP_MD *md = is_p384 ? EVP_sha384() : EVP_sha256();
    int i, rounds = acme_key_type_is_rsa(generated[_i].type) ? 2 : 300;

    ck_assert_str_eq(acme_key_jws_alg(key), generated[_i].alg);
    /* Often enough to see an R or S that begins with a zero byte. */
    for (i = 0; i < rounds; i++) {
        const char *input = apr_psprintf(pool, "input %d", i), *text;
        unsigned char *sig;
        apr_size_t len;

        ck_assert_int_eq(acme_key_jws_sign(&text, key, input, strlen(input), pool, NULL),
                         ACME_OK);
        ck_assert_int_eq(acme_base64url_decode(&sig, &len, text, strlen(text), pool, NULL),
                         ACME_OK);
        ck_assert_int_eq((int)len, generated[_i].sig_len);
        ck_assert(verifies(key, md, input, text));
        ck_assert(!verifies(key, md, "another", text));
    }
}
END_TEST

START_TEST(no_two_are_the_same)
{
    ck_assert_str_ne(acme_key_digest(generate(ACME_KEY_P256), pool),
                     acme_key_digest(generate(ACME_KEY_P256), pool));
}
END_TEST

/* One key signs in all threads while each makes keys of its own. */
typedef struct {
    const acme_key_t *shared;
    int ok;
} work_t;

static void *APR_THREAD_FUNC work(apr_thread_t *thread, void *data)
{
    work_t *mine = data;
    apr_pool_t *own;
    int i;

    (void)thread;
    mine->ok = apr_pool_create_unmanaged_ex(&own, NULL, NULL) == APR_SUCCESS;
    for (i = 0; i < 50 && mine->ok; i++) {
        acme_key_t *key;
        const char *text;

        mine->ok = acme_key_generate(&key, ACME_KEY_P256, own, NULL) == ACME_OK
                   && acme_key_jws_sign(&text, mine->shared, "x", 1, own, NULL) == ACME_OK
                   && acme_key_thumbprint(mine->shared, own) && acme_key_to_pem(mine->shared, own);
    }
    apr_pool_destroy(own);
    return NULL;
}

START_TEST(threads_share_keys)
{
    acme_key_t *shared = from_jwk(a3_jwk);
    apr_thread_t *threads[4];
    work_t works[4];
    int i;

    for (i = 0; i < COUNT(threads); i++) {
        works[i].shared = shared;
        works[i].ok = 0;
        ck_assert_int_eq(apr_thread_create(&threads[i], NULL, work, &works[i], pool), APR_SUCCESS);
    }
    for (i = 0; i < COUNT(threads); i++) {
        apr_status_t rv;

        ck_assert_int_eq(apr_thread_join(&rv, threads[i]), APR_SUCCESS);
        ck_assert(works[i].ok);
    }
}
END_TEST

/* ---- what others wrote ---- */

/* Digests: openssl pkey -pubout -outform DER | sha256sum. */
static const struct {
    const char *pem, *jwk, *digest;
} known[] = {
    { a2_pem, a2_jwk, "6fd13c2435a361e7c588cd17f55f5ad3df0177a66c1727a6a200845f4d7ab88c" },
    { a3_pem, a3_jwk, "2bd1bb0c44a897c30a7aa0991cde38d8062fe441de50da0f46825344f602e827" },
    { zero_x_pem, zero_x, "a1f97afd3b214d0589fee248d1324bdcf217895271da68d7388eee41b7857d65" },
    { params_pem, NULL, "29f30fcb13ac47b378ba2cdbe61aa5b37b03ab9bb9d283db4f7f05957b8cabce" },
    { p521_pem, NULL, "7a675868b7492d89947d7b17303aa35e8ec4d9893e768217c87667c92a3e1efb" },
};

START_TEST(known_keys)
{
    ck_assert_str_eq(acme_key_digest(from_pem(known[_i].pem), pool), known[_i].digest);
    if (known[_i].jwk) {
        ck_assert_str_eq(acme_key_digest(from_jwk(known[_i].jwk), pool), known[_i].digest);
    }
}
END_TEST

/* python3-cryptography's PKCS#8 of the same key. */
START_TEST(pkcs8_is_what_others_write)
{
    acme_key_t *key = from_jwk(a2_jwk);
    const char *pem = acme_key_to_pem(key, pool);
    char hex[ACME_SHA256_HEX];
    unsigned char *der;
    apr_size_t len;

    ck_assert_str_eq(acme_sha256_hex(hex, pem, strlen(pem)),
                     "af731893ebc7feb247cbd361ae99181ab1b4222580044022b35d92666f4471fc");
    ck_assert_int_eq(acme_key_to_der(&der, &len, key, pool, NULL), ACME_OK);
    ck_assert_str_eq(acme_sha256_hex(hex, der, len),
                     "5332909a8fb12fdcd663eb7cb5989609c1515e7e76ac746c3cf33c601245e5a7");
    ck_assert_str_eq(acme_key_to_pem(from_jwk(a3_jwk), pool), a3_pem);
    ck_assert_str_eq(acme_key_to_pem(from_jwk(zero_x), pool), zero_x_pem);
}
END_TEST

START_TEST(thumbprints)
{
    ck_assert_str_eq(acme_key_thumbprint(from_jwk(rfc7517_rsa), pool),
                     "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs");
    ck_assert_str_eq(acme_key_thumbprint(from_jwk(a2_jwk), pool),
                     "IsUn6_e04MaShXFIISMp4kG62LWzMIPy_MvSA5pJgX8");
    ck_assert_str_eq(acme_key_thumbprint(from_jwk(a3_jwk), pool),
                     "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U");
    ck_assert_str_eq(acme_key_thumbprint(from_jwk(zero_x), pool),
                     "SNXGGG0xmWGFVHV39X6Qax-NyBdapP59lmHmD_ehtWc");
    ck_assert_str_eq(acme_key_thumbprint(from_pem(zero_x_pem), pool),
                     "SNXGGG0xmWGFVHV39X6Qax-NyBdapP59lmHmD_ehtWc");
}
END_TEST

START_TEST(public_jwk_has_no_secret)
{
    const char *text = acme_json_dump(acme_key_public_jwk(from_jwk(a3_jwk), pool), pool);

    ck_assert_str_eq(text, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV7"
                     "6e8Tus9uPHvRVEU\",\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}");
    text = acme_json_dump(acme_key_public_jwk(from_jwk(a2_jwk), pool), pool);
    ck_assert_str_eq(text, rewritten(a2_jwk, " e kty n", NULL, NULL));
}
END_TEST

START_TEST(private_jwk_is_complete_and_sorted)
{
    ck_assert_str_eq(acme_key_to_jwk(from_jwk(a2_jwk), pool),
                     rewritten(a2_jwk, " d dp dq e kty n p q qi", NULL, NULL));
    ck_assert_str_eq(acme_key_to_jwk(from_jwk(a3_jwk), pool),
                     rewritten(a3_jwk, " crv d kty x y", NULL, NULL));
    ck_assert_str_eq(acme_key_to_jwk(from_jwk(zero_x), pool),
                     rewritten(zero_x, " crv d kty x y", NULL, NULL));
}
END_TEST

/* What libwebsockets wrote, and less; in any order. */
static const char *const rsa_members[] = {
    " e kty n d p q",
    " e kty n d p q dp dq qi",
    " qi q p n kty e dq dp d",
    " e kty n d",
    " e kty n d p",
    " e kty n d q qi",
};

START_TEST(rsa_numbers_that_may_be_missing)
{
    const char *text = rewritten(a2_jwk, rsa_members[_i], NULL, NULL);

    ck_assert_str_eq(acme_key_to_jwk(from_jwk(text), pool),
                     acme_key_to_jwk(from_jwk(a2_jwk), pool));
}
END_TEST

START_TEST(rsa_factors_in_either_order)
{
    acme_json_t *from;
    const char *p, *q, *text = rewritten(a2_jwk, " e kty n d p q", NULL, NULL);

    ck_assert_int_eq(acme_json_parse(&from, text, strlen(text), "key", pool, NULL), ACME_OK);
    acme_json_get_string(&p, from, "p", ACME_JSON_REQUIRED, NULL);
    acme_json_get_string(&q, from, "q", ACME_JSON_REQUIRED, NULL);
    text = rewritten(rewritten(text, " e kty n d p q", "p", q), " e kty n d p q", "q", p);
    ck_assert_str_eq(acme_key_digest(from_jwk(text), pool),
                     acme_key_digest(from_jwk(a2_jwk), pool));
}
END_TEST

START_TEST(zeros_in_front_may_be_missing)
{
    const char *text = rewritten(zero_x, " crv d kty x y", "x",
                                 "eYuAPoCJ1aQeWk-ryLvq-qcgGy1m0doR0oYSfpfjAX2nRbihzriweMsZ0cHrWqg");

    ck_assert_str_eq(acme_key_to_jwk(from_jwk(text), pool),
                     acme_key_to_jwk(from_jwk(zero_x), pool));
}
END_TEST

START_TEST(rfc7515_signatures)
{
    acme_key_t *rsa = from_jwk(a2_jwk), *ec = from_jwk(a3_jwk);
    const char *text;

    ck_assert_int_eq(acme_key_jws_sign(&text, rsa, a2_input, strlen(a2_input), pool, NULL),
                     ACME_OK);
    ck_assert_str_eq(text, a2_signature);
    ck_assert(verifies(ec, EVP_sha256(), a3_input, a3_signature));
    ck_assert_int_eq(acme_key_jws_sign(&text, ec, a3_input, strlen(a3_input), pool, NULL),
                     ACME_OK);
    ck_assert(verifies(ec, EVP_sha256(), a3_input, text));
    ck_assert_str_ne(text, a3_signature);
}
END_TEST

/* ---- what is refused ---- */

#define RSA_MEMBERS " kty n e d p q dp dq qi"
#define RSA_LESS " kty n e d"
#define EC_MEMBERS " kty crv x y d"

static const struct {
    const char *jwk, *members, *member, *value, *why;
} bad_jwk[] = {
    { a2_jwk, RSA_MEMBERS, "kty", "oct", "kty" },
    { a2_jwk, RSA_MEMBERS, "kty", "EC", "crv" },
    { a2_jwk, RSA_MEMBERS, "kty", "rsa", "kty" },
    { a2_jwk, RSA_MEMBERS, "kty", NULL, "kty" },
    { a2_jwk, RSA_MEMBERS, "n", NULL, "\"n\"" },
    { a2_jwk, RSA_MEMBERS, "n", "AQAB", "2048" },
    { a2_jwk, RSA_MEMBERS, "n", a2_signature, "2048" },
    { a2_jwk, RSA_LESS, "n", a2_signature, "2048" },
    { a2_jwk, RSA_MEMBERS, "e", NULL, "\"e\"" },
    { a2_jwk, RSA_MEMBERS, "e", "", "empty" },
    { a2_jwk, RSA_MEMBERS, "e", "AQ", "2048" },
    { a2_jwk, RSA_MEMBERS, "e", "AQAA", "2048" },
    { a2_jwk, RSA_MEMBERS, "e", "Aw", "belong together" },
    { a2_jwk, RSA_MEMBERS, "e", "AQAAAAAAAAAAAQ", "too long" },
    { a2_jwk, RSA_MEMBERS, "e", "AQAB==", "base64url" },
    { a2_jwk, RSA_MEMBERS, "d", NULL, "\"d\"" },
    { a2_jwk, RSA_MEMBERS, "d", "AQAB", "belong together" },
    { a2_jwk, RSA_LESS, "d", "AQAB", "belong together" },
    { a2_jwk, RSA_LESS, "d", "AA", "belong together" },
    { a2_jwk, RSA_MEMBERS, "d", "A", "base64url" },
    { a2_jwk, RSA_MEMBERS, "d", "a+b/", "base64url" },
    { a2_jwk, RSA_MEMBERS, "p", "AQAB", "belong together" },
    { a2_jwk, RSA_MEMBERS, "p", "AA", "belong together" },
    { a2_jwk, RSA_MEMBERS, "q", "AQ", "belong together" },
    { a2_jwk, RSA_MEMBERS, "q", "", "empty" },
    { a3_jwk, EC_MEMBERS, "kty", "RSA", "\"n\"" },
    { a3_jwk, EC_MEMBERS, "crv", "P-384", "" },
    { a3_jwk, EC_MEMBERS, "crv", "P-521", "crv" },
    { a3_jwk, EC_MEMBERS, "crv", NULL, "crv" },
    { a3_jwk, EC_MEMBERS, "x", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "" },
    { a3_jwk, EC_MEMBERS, "x", NULL, "\"x\"" },
    { a3_jwk, EC_MEMBERS, "y", "", "empty" },
    { a3_jwk, EC_MEMBERS, "d", NULL, "\"d\"" },
    { a3_jwk, EC_MEMBERS, "d", "AA", "" },
    { a3_jwk, EC_MEMBERS, "d", "AQ", "belong together" },
    { a3_jwk, EC_MEMBERS, "d", "____________________________________________", "too long" },
    { a3_jwk, EC_MEMBERS, "d", "__________________________________________8", "" },
};

START_TEST(bad_jwks)
{
    const char *text = rewritten(bad_jwk[_i].jwk, bad_jwk[_i].members, bad_jwk[_i].member,
                                 bad_jwk[_i].value);
    acme_key_t *key = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_key_from_jwk(&key, text, strlen(text), pool, &err), ACME_FAIL);
    ck_assert(key == NULL);
    ck_assert(err.kind == ACME_E_STORE || err.kind == ACME_E_PROTOCOL);
    ck_assert_msg(strstr(err.text, bad_jwk[_i].why) != NULL, "%s", err.text);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

static const char *const not_jwk[] = {
    "",
    "{",
    "{}",
    "[]",
    "null",
    "{\"kty\":\"EC\"}",
    "{\"kty\":1}",
    "{\"kty\":\"RSA\",\"n\":65537,\"e\":\"AQAB\",\"d\":\"AQAB\"}",
    a3_pem,
};

START_TEST(texts_that_are_no_jwk)
{
    acme_key_t *key = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_key_from_jwk(&key, not_jwk[_i], strlen(not_jwk[_i]), pool, &err),
                     ACME_FAIL);
    ck_assert(key == NULL && err.text[0]);
}
END_TEST

START_TEST(truncated_jwk)
{
    apr_size_t len;
    acme_key_t *key;

    for (len = 0; len < strlen(a3_jwk); len++) {
        ck_assert_int_eq(acme_key_from_jwk(&key, a3_jwk, len, pool, NULL), ACME_FAIL);
    }
}
END_TEST

static const struct {
    const char *a, *b, *why;
} bad_pem[] = {
    { "", "", "no PEM block" },
    { "\n\n", "text", "no PEM block" },
    { "-----BEGIN PRIVATE KEY-----\n", "", "" },
    { "-----BEGIN PRIVATE KEY-----\n-----END PRIVATE KEY-----\n", "", "" },
    { "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "", "" },
    { "-----BEGIN PRIVATE KEY----\n", "", "something else" },
    { "-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n", "",
      "no PEM block" },
    { encrypted_pem, "", "passphrase" },
    { dek_pem, "", "passphrase" },
    { a3_pem, a3_pem, "more than one" },
    { a3_pem, params_pem, "more than one" },
    { a3_pem, "-----BEGIN CERTIFICATE-----\n", "something else" },
    { "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n", a3_pem, "something else" },
    { a3_pem, "-----BEGIN ", "something else" },
    { ed25519_pem, "", "neither EC nor RSA" },
    { a3_jwk, "", "no PEM block" },
};

START_TEST(bad_pems)
{
    const char *text = apr_pstrcat(pool, bad_pem[_i].a, bad_pem[_i].b, NULL);
    acme_key_t *key = NULL;
    acme_error_t err;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_key_from_pem(&key, text, strlen(text), pool, &err), ACME_FAIL);
    ck_assert(key == NULL);
    ck_assert_int_eq(err.kind, ACME_E_STORE);
    ck_assert_msg(strstr(err.text, bad_pem[_i].why) != NULL, "%s", err.text);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

START_TEST(pem_with_other_line_ends_and_text)
{
    const char *text = "Bag Attributes\r\n";
    const char *line;

    for (line = a3_pem; *line; line += strcspn(line, "\n") + 1) {
        text = apr_pstrcat(pool, text, apr_pstrmemdup(pool, line, strcspn(line, "\n")), "\r\n",
                           NULL);
    }
    ck_assert_str_eq(acme_key_to_pem(from_pem(text), pool), a3_pem);
    ck_assert_str_eq(acme_key_to_pem(from_pem(apr_pstrcat(pool, text, "bye", NULL)), pool),
                     a3_pem);
}
END_TEST

START_TEST(pem_with_nul)
{
    char *text = apr_pstrcat(pool, a3_pem, "x", NULL);
    apr_size_t len = strlen(text);
    acme_key_t *key;

    ck_assert_int_eq(acme_key_from_pem(&key, text, len, pool, NULL), ACME_OK);
    text[len - 1] = '\0';
    ck_assert_int_eq(acme_key_from_pem(&key, text, len, pool, NULL), ACME_FAIL);
}
END_TEST

START_TEST(truncated_pem)
{
    apr_size_t len, whole = strlen(a3_pem) - 1; /* its last newline may go */
    acme_key_t *key;

    for (len = 0; len < whole; len++) {
        ck_assert_int_eq(acme_key_from_pem(&key, a3_pem, len, pool, NULL), ACME_FAIL);
    }
    ck_assert_int_eq(acme_key_from_pem(&key, a3_pem, whole, pool, NULL), ACME_OK);
}
END_TEST

/* No bit of a key may turn over unnoticed. */
START_TEST(corrupt_der)
{
    acme_key_t *key = from_jwk(a3_jwk), *again;
    unsigned char *der, *copy;
    apr_size_t i, len;
    int refused = 0;

    ck_assert_int_eq(acme_key_to_der(&der, &len, key, pool, NULL), ACME_OK);
    for (i = 0; i < len; i++) {
        ck_assert_int_eq(acme_key_from_der(&again, der, i, pool, NULL), ACME_FAIL);
    }
    for (i = 0; i < len * 8; i++) {
        copy = apr_pmemdup(pool, der, len);
        copy[i / 8] ^= (unsigned char)(1u << i % 8);
        if (acme_key_from_der(&again, copy, len, pool, NULL) == ACME_OK) {
            ck_assert_str_eq(acme_key_digest(again, pool), acme_key_digest(key, pool));
        }
        else {
            refused++;
        }
    }
    ck_assert_int_gt(refused, 1000);
    copy = apr_pcalloc(pool, len + 1);
    memcpy(copy, der, len);
    ck_assert_int_eq(acme_key_from_der(&again, copy, len + 1, pool, NULL), ACME_FAIL);
    ck_assert_int_eq(ERR_peek_error(), 0);
}
END_TEST

/* ---- secrets ---- */

typedef struct {
    const char *text;
    apr_size_t len;
    int wiped;
} watch_t;

static apr_status_t look(void *data)
{
    watch_t *watch = data;
    apr_size_t i;

    watch->wiped = 1;
    for (i = 0; i < watch->len; i++) {
        watch->wiped = watch->wiped && watch->text[i] == '\0';
    }
    return APR_SUCCESS;
}

START_TEST(texts_are_wiped_with_their_pool)
{
    acme_key_t *key = from_jwk(a3_jwk);
    watch_t watch[3];
    unsigned char *der;
    apr_pool_t *own;
    int i;

    apr_pool_create(&own, pool);
    memset(watch, 0, sizeof(watch));
    /* Registered first, run last. */
    for (i = 0; i < COUNT(watch); i++) {
        apr_pool_cleanup_register(own, &watch[i], look, apr_pool_cleanup_null);
    }
    watch[0].text = acme_key_to_pem(key, own);
    watch[0].len = strlen(watch[0].text);
    watch[1].text = acme_key_to_jwk(key, own);
    watch[1].len = strlen(watch[1].text);
    ck_assert_int_eq(acme_key_to_der(&der, &watch[2].len, key, own, NULL), ACME_OK);
    watch[2].text = (const char *)der;
    apr_pool_destroy(own);
    for (i = 0; i < COUNT(watch); i++) {
        ck_assert(watch[i].len > 0 && watch[i].wiped);
    }
}
END_TEST

static int stop_after(void *baton)
{
    int *asked = baton;

    return --*asked < 0;
}

/* The first prime of 4096 bits takes longer than ten questions, often far longer. */
START_TEST(generation_can_be_stopped)
{
    acme_key_t *key = NULL;
    acme_error_t err;
    int asked = 10;

    acme_error_clear(&err);
    ck_assert_int_eq(acme_key_generate_unless(&key, ACME_KEY_RSA4096, stop_after, &asked, pool,
                                              &err), ACME_FAIL);
    ck_assert_int_eq(err.kind, ACME_E_STOPPED);
    ck_assert_int_eq(asked, -1);
    asked = 1000000;
    ck_assert_int_eq(acme_key_generate_unless(&key, ACME_KEY_RSA2048, stop_after, &asked, pool,
                                              NULL), ACME_OK);
    ck_assert_int_lt(asked, 1000000);
    ck_assert_int_eq(acme_key_generate_unless(&key, ACME_KEY_P256, stop_after, &asked, pool, NULL),
                     ACME_OK);
}
END_TEST

/* openssl pkcs8 -topk8 -passout "pass:a secret"; the digest: openssl pkey -pubout -outform DER,
 * sha256sum. */
static const char secret_pem[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIHsMFcGCSqGSIb3DQEFDTBKMCkGCSqGSIb3DQEFDDAcBAgSjPglaKMmjgICCAAw\n"
    "DAYIKoZIhvcNAgkFADAdBglghkgBZQMEASoEEE9xOxOZdTXR4mq8NxWircUEgZBJ\n"
    "fI2k6PONDtWUEuDH6p7g+16PuHGphmXJojh41GBMr+REGa4c3B+VNqH3OFWcJDyh\n"
    "cjGzUSXnDra9CND867K2O+3Ny4C7L/p7VzqpfJE/Wi5YFgHlYG4RYlcmtYZnOEIs\n"
    "eFIKpsE0qNhSdbaVYDxfwzPfxciVfNyhDfEqwjnzO0m9tLKPu22gR3LQnW9zoCA=\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

START_TEST(encrypted_pem_wants_its_passphrase)
{
    apr_size_t len = strlen(secret_pem);
    const char *twice = apr_pstrcat(pool, secret_pem, secret_pem, NULL);
    acme_key_t *key = NULL;

    ck_assert_int_eq(acme_key_from_encrypted_pem(&key, secret_pem, len, "a secret", 8, pool,
                                                 NULL), ACME_OK);
    ck_assert_str_eq(acme_key_digest(key, pool),
                     "b82d62030648d31cf1b2ad5bf7c8c7d75297a28cb010e1ff802a9d252a13cfe0");
    ck_assert_int_eq(acme_key_from_encrypted_pem(&key, secret_pem, len, "a Secret", 8, pool,
                                                 NULL), ACME_FAIL);
    ck_assert_int_eq(acme_key_from_encrypted_pem(&key, secret_pem, len, "", 0, pool, NULL),
                     ACME_FAIL);
    ck_assert_int_eq(acme_key_from_encrypted_pem(&key, secret_pem, len / 2, "a secret", 8, pool,
                                                 NULL), ACME_FAIL);
    ck_assert_int_eq(acme_key_from_encrypted_pem(&key, twice, 2 * len, "a secret", 8, pool, NULL),
                     ACME_FAIL);
    ck_assert_int_eq(acme_key_from_pem(&key, secret_pem, len, pool, NULL), ACME_FAIL);
}
END_TEST

Suite *key_suite(void)
{
    Suite *suite = suite_create("key");
    TCase *tc = tcase_create("key");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, type_names, 0, COUNT(names));
    tcase_add_loop_test(tc, rsa_of_other_sizes, 0, COUNT(sizes));
    tcase_add_loop_test(tc, curves_we_do_not_use, 0, COUNT(untyped));
    tcase_add_loop_test(tc, every_form_gives_the_key_back, 0, COUNT(generated));
    tcase_add_loop_test(tc, signatures_verify, 0, COUNT(generated));
    tcase_add_test(tc, no_two_are_the_same);
    tcase_add_test(tc, generation_can_be_stopped);
    tcase_add_test(tc, threads_share_keys);
    tcase_add_loop_test(tc, known_keys, 0, COUNT(known));
    tcase_add_test(tc, pkcs8_is_what_others_write);
    tcase_add_test(tc, thumbprints);
    tcase_add_test(tc, public_jwk_has_no_secret);
    tcase_add_test(tc, private_jwk_is_complete_and_sorted);
    tcase_add_loop_test(tc, rsa_numbers_that_may_be_missing, 0, COUNT(rsa_members));
    tcase_add_test(tc, rsa_factors_in_either_order);
    tcase_add_test(tc, zeros_in_front_may_be_missing);
    tcase_add_test(tc, rfc7515_signatures);
    tcase_add_loop_test(tc, bad_jwks, 0, COUNT(bad_jwk));
    tcase_add_loop_test(tc, texts_that_are_no_jwk, 0, COUNT(not_jwk));
    tcase_add_test(tc, truncated_jwk);
    tcase_add_loop_test(tc, bad_pems, 0, COUNT(bad_pem));
    tcase_add_test(tc, pem_with_other_line_ends_and_text);
    tcase_add_test(tc, pem_with_nul);
    tcase_add_test(tc, truncated_pem);
    tcase_add_test(tc, encrypted_pem_wants_its_passphrase);
    tcase_add_test(tc, corrupt_der);
    tcase_add_test(tc, texts_are_wiped_with_their_pool);
    suite_add_tcase(suite, tc);
    return suite;
}
