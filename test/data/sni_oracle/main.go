// Licensed under the Apache License, Version 2.0; see LICENSE.

// The name and the DNS names of the certificate that golang.org/x/crypto (v0.38.0 and older) makes for tls-sni-01:
//
//	go run main.go KEY.pem TOKEN
package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"

	"golang.org/x/crypto/acme"
)

func main() {
	data, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(data)
	key, err := x509.ParseECPrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	client := &acme.Client{Key: key}
	cert, name, err := client.TLSSNI01ChallengeCert(os.Args[2])
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		panic(err)
	}
	fmt.Println(name)
	for _, san := range leaf.DNSNames {
		fmt.Println(san)
	}
}
