// Package pki makes the certificate authorities, certificates, keys and
// kubeconfigs of a throwaway cluster. Everything is kept in one folder and
// reused as long as it is valid, so that a cluster which comes back after a
// reboot still knows its clients.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"
)

const (
	validity = 10 * 365 * 24 * time.Hour
	// renewBefore is how long before its end a certificate is made anew.
	renewBefore = 30 * 24 * time.Hour
	// backdate tolerates a clock that was set back a little.
	backdate = time.Hour
)

// Pair is where a certificate and its private key are.
type Pair struct {
	CertFile string
	KeyFile  string
}

// Authority signs certificates. Its own certificate lies beside those it signs.
type Authority struct {
	Pair
	dir  string
	cert *x509.Certificate
	key  crypto.Signer
}

// Request says what a certificate is for.
type Request struct {
	// CommonName is the user's name for Kubernetes.
	CommonName string
	// Organizations are the user's groups for Kubernetes.
	Organizations []string
	// Hosts are the DNS names and addresses that a server answers under; none
	// makes a certificate for clients alone.
	Hosts []string
}

// OpenAuthority loads the authority `name` from dir, or makes it there.
func OpenAuthority(dir, name string) (*Authority, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	pair := pairIn(dir, name)
	if cert, key, err := load(pair); err == nil && fresh(cert, time.Now()) {
		return &Authority{Pair: pair, dir: dir, cert: cert, key: key}, nil
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("certificate authority %s: %w (delete %s to make it anew)", name, err, dir)
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	if err := store(pair, cert, key); err != nil {
		return nil, err
	}
	return &Authority{Pair: pair, dir: dir, cert: cert, key: key}, nil
}

// Issue gives the certificate `name`, signed anew only when the one on disk
// does not fit the request any more.
func (a *Authority) Issue(name string, request Request) (Pair, error) {
	pair := pairIn(a.dir, name)
	if cert, _, err := load(pair); err == nil && a.fits(cert, request) {
		return pair, nil
	}
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: request.CommonName, Organization: request.Organizations},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(request.Hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range request.Hosts {
		if address := net.ParseIP(host); address != nil {
			template.IPAddresses = append(template.IPAddresses, address)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, err := sign(template, a.cert, key.Public(), a.key)
	if err != nil {
		return Pair{}, fmt.Errorf("certificate %s: %w", name, err)
	}
	return pair, store(pair, cert, key)
}

// fits tells whether cert answers the request, is signed by this authority and
// has time left.
func (a *Authority) fits(cert *x509.Certificate, request Request) bool {
	if !fresh(cert, time.Now()) || cert.CheckSignatureFrom(a.cert) != nil {
		return false
	}
	for _, host := range request.Hosts {
		if cert.VerifyHostname(host) != nil {
			return false
		}
	}
	return cert.Subject.CommonName == request.CommonName &&
		slices.Equal(cert.Subject.Organization, request.Organizations) &&
		len(cert.DNSNames)+len(cert.IPAddresses) == len(request.Hosts)
}

// SigningKey gives the file of a bare key pair (for service-account tokens),
// made when it is not there: the private key, and beside it the public one.
func SigningKey(dir, name string) (Pair, error) {
	pair := Pair{CertFile: filepath.Join(dir, name+".pub"), KeyFile: filepath.Join(dir, name+".key")}
	if _, err := os.Stat(pair.CertFile); err == nil {
		return pair, nil
	}
	key, err := newKey()
	if err != nil {
		return Pair{}, err
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return Pair{}, err
	}
	if err := storeKey(pair.KeyFile, key); err != nil {
		return Pair{}, err
	}
	return pair, writePEM(pair.CertFile, "PUBLIC KEY", public, 0o644)
}

func pairIn(dir, name string) Pair {
	return Pair{CertFile: filepath.Join(dir, name+".crt"), KeyFile: filepath.Join(dir, name+".key")}
}

func newKey() (*ecdsa.PrivateKey, error) {
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

func fresh(cert *x509.Certificate, now time.Time) bool {
	return now.After(cert.NotBefore) && now.Add(renewBefore).Before(cert.NotAfter)
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	template.SerialNumber = serial
	template.NotBefore = time.Now().Add(-backdate)
	template.NotAfter = time.Now().Add(validity)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

func load(pair Pair) (*x509.Certificate, crypto.Signer, error) {
	certDER, err := readPEM(pair.CertFile)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := readPEM(pair.KeyFile)
	if err != nil {
		return nil, nil, err
	}
	cert, err := x509.ParseCertificate(certDER)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", pair.CertFile, err)
	}
	key, err := x509.ParseECPrivateKey(keyDER)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", pair.KeyFile, err)
	}
	return cert, key, nil
}

// store writes the key first: a certificate whose key is missing would be
// taken for a broken folder, a key without certificate is just replaced.
func store(pair Pair, cert *x509.Certificate, key *ecdsa.PrivateKey) error {
	if err := storeKey(pair.KeyFile, key); err != nil {
		return err
	}
	return writePEM(pair.CertFile, "CERTIFICATE", cert.Raw, 0o644)
}

func storeKey(path string, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return err
	}
	return writePEM(path, "EC PRIVATE KEY", der, 0o600)
}

func readPEM(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block in it", path)
	}
	return block.Bytes, nil
}

// writePEM writes beside and renames, so that a kill leaves no half a file.
func writePEM(path, kind string, der []byte, mode fs.FileMode) error {
	partial := path + ".partial"
	data := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(partial, data, mode); err != nil {
		return err
	}
	return os.Rename(partial, path)
}
