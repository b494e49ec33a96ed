package pki

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"testing"
)

func TestAServerIsBelievedUnderEachOfItsHosts(t *testing.T) {
	authority, err := OpenAuthority(t.TempDir(), "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.Issue("server", Request{CommonName: "server", Hosts: []string{"127.0.0.1", "kubernetes.default"}})
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(authority.cert)
	for _, host := range []string{"127.0.0.1", "kubernetes.default"} {
		if _, err := loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host}); err != nil {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := loaded.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: "elsewhere"}); err == nil {
		t.Error("believed under a name that it was not made for")
	}
}

func TestACertificateIsReusedUntilTheRequestChanges(t *testing.T) {
	dir := t.TempDir()
	issue := func(hosts ...string) string {
		t.Helper()
		authority, err := OpenAuthority(dir, "ca")
		if err != nil {
			t.Fatal(err)
		}
		pair, err := authority.Issue("server", Request{CommonName: "server", Hosts: hosts})
		if err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(pair.CertFile)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	first := issue("10.0.0.1")
	if issue("10.0.0.1") != first {
		t.Error("the same request made another certificate")
	}
	if issue("10.0.0.2") == first {
		t.Error("another host kept the old certificate")
	}
}

func TestANewAuthorityReplacesWhatTheOldOneSigned(t *testing.T) {
	dir := t.TempDir()
	old, err := OpenAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	request := Request{CommonName: "admin", Organizations: []string{"system:masters"}}
	if _, err := old.Issue("admin", request); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{old.CertFile, old.KeyFile} {
		if err := os.Remove(file); err != nil {
			t.Fatal(err)
		}
	}
	replaced, err := OpenAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := replaced.Issue("admin", request)
	if err != nil {
		t.Fatal(err)
	}
	cert, _, err := load(pair)
	if err != nil {
		t.Fatal(err)
	}
	if err := cert.CheckSignatureFrom(replaced.cert); err != nil {
		t.Error(err)
	}
}

func TestKeysAndKubeconfigsAreForTheirOwnerOnly(t *testing.T) {
	dir := t.TempDir()
	authority, err := OpenAuthority(dir, "ca")
	if err != nil {
		t.Fatal(err)
	}
	client, err := authority.Issue("admin", Request{CommonName: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := SigningKey(dir, "service-accounts")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(dir, "kubeconfig")
	if err := WriteKubeconfig(kubeconfig, authority, client, Kubeconfig{Cluster: "c", Server: "https://127.0.0.1:1", User: "admin"}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{authority.KeyFile, client.KeyFile, tokens.KeyFile, kubeconfig} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s is readable by others: %v", filepath.Base(path), info.Mode())
		}
	}
}
