// Package controlplane knows how etcd, the API server, the controller manager
// and the scheduler are started: their certificates, their flags, and how to
// see that they are ready. The node uses it, and so does the control plane
// without a node that tests about objects start.
package controlplane

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"

	"tenantry.dev/tests/cluster/internal/pki"
	"tenantry.dev/tests/cluster/internal/supervise"
)

// Config is what differs between one control plane and another.
type Config struct {
	// Name of the cluster and of its context in kubeconfigs.
	Name string
	// Dir holds certificates, kubeconfigs and etcd's data.
	Dir string
	// Address is where the API server is reached.
	Address netip.Addr
	Ports   Ports
	// ServiceCIDR is where Services get their addresses from.
	ServiceCIDR netip.Prefix
	// PodCIDR is the node's range for pods; without one (the zero value) there
	// is no node, and nothing that only a node needs.
	PodCIDR netip.Prefix
	// Audit writes every request's metadata to AuditLog.
	Audit bool
	// WithoutControllers are left out of the controller manager: somebody else
	// does their work.
	WithoutControllers []string
	Spawner            *supervise.Spawner
}

// Ports are those that the control plane listens on.
type Ports struct {
	APIServer  int
	EtcdClient int
	EtcdPeer   int
}

// ControlPlane has its keys and is ready to be started part by part.
type ControlPlane struct {
	Config
	// Authority signs every certificate but etcd's and the aggregator's.
	Authority *pki.Authority

	etcdAuthority  *pki.Authority
	proxyAuthority *pki.Authority
	etcdServer     pki.Pair
	etcdClient     pki.Pair
	proxyClient    pki.Pair
	server         pki.Pair
	kubeletClient  pki.Pair
	tokens         pki.Pair
}

// Prepare makes what is missing of certificates and kubeconfigs.
func Prepare(config Config) (*ControlPlane, error) {
	c := &ControlPlane{Config: config}
	if err := os.MkdirAll(config.Dir, 0o700); err != nil {
		return nil, err
	}
	if err := c.issueCertificates(); err != nil {
		return nil, err
	}
	if config.Audit {
		if err := c.writeAuditPolicy(); err != nil {
			return nil, err
		}
	}
	for _, user := range []struct{ file, name, group string }{
		{c.Kubeconfig(), "admin", "system:masters"},
		{c.controllerManagerKubeconfig(), "system:kube-controller-manager", ""},
		{c.schedulerKubeconfig(), "system:kube-scheduler", ""},
	} {
		var groups []string
		if user.group != "" {
			groups = []string{user.group}
		}
		if err := c.WriteKubeconfig(user.file, user.name, groups...); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *ControlPlane) issueCertificates() (err error) {
	if c.Authority, err = pki.OpenAuthority(c.path("pki"), "ca"); err != nil {
		return err
	}
	if c.etcdAuthority, err = pki.OpenAuthority(c.path("pki", "etcd"), "ca"); err != nil {
		return err
	}
	if c.proxyAuthority, err = pki.OpenAuthority(c.path("pki", "front-proxy"), "ca"); err != nil {
		return err
	}
	if c.tokens, err = pki.SigningKey(c.path("pki"), "service-accounts"); err != nil {
		return err
	}
	for _, wanted := range []struct {
		pair      *pki.Pair
		authority *pki.Authority
		name      string
		request   pki.Request
	}{
		{&c.etcdServer, c.etcdAuthority, "server", pki.Request{CommonName: "etcd", Hosts: []string{loopback, "localhost"}}},
		{&c.etcdClient, c.etcdAuthority, "kube-apiserver", pki.Request{CommonName: "kube-apiserver"}},
		{&c.proxyClient, c.proxyAuthority, "client", pki.Request{CommonName: aggregatorName}},
		{&c.server, c.Authority, "kube-apiserver", pki.Request{CommonName: "kube-apiserver", Hosts: c.serverHosts()}},
		{&c.kubeletClient, c.Authority, "kube-apiserver-kubelet-client", pki.Request{
			CommonName: "kube-apiserver-kubelet-client", Organizations: []string{"system:masters"}}},
	} {
		if *wanted.pair, err = wanted.authority.Issue(wanted.name, wanted.request); err != nil {
			return err
		}
	}
	return nil
}

// serverHosts are the names that clients, in pods and outside, use.
func (c *ControlPlane) serverHosts() []string {
	hosts := []string{
		"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc",
		"kubernetes.default.svc.cluster.local", loopback, c.ServiceCIDR.Addr().Next().String(),
	}
	if address := c.Address.String(); address != loopback {
		hosts = append(hosts, address)
	}
	return hosts
}

// WriteKubeconfig makes a client certificate for a user and a kubeconfig that
// uses it.
func (c *ControlPlane) WriteKubeconfig(file, user string, groups ...string) error {
	name := filepath.Base(file)
	client, err := c.Authority.Issue("client-"+name, pki.Request{CommonName: user, Organizations: groups})
	if err != nil {
		return err
	}
	return pki.WriteKubeconfig(file, c.Authority, client, pki.Kubeconfig{Cluster: c.Name, Server: c.Server(), User: user})
}

// Server is the API server's URL.
func (c *ControlPlane) Server() string {
	return fmt.Sprintf("https://%s", net.JoinHostPort(c.Address.String(), strconv.Itoa(c.Ports.APIServer)))
}

// Kubeconfig is the file that makes its reader the cluster's administrator.
func (c *ControlPlane) Kubeconfig() string { return c.path("kubeconfig") }

// AuditLog is where audit events go when the configuration asks for them.
func (c *ControlPlane) AuditLog() string { return c.path("audit.log") }

func (c *ControlPlane) controllerManagerKubeconfig() string {
	return c.path("kube-controller-manager.kubeconfig")
}

func (c *ControlPlane) schedulerKubeconfig() string { return c.path("kube-scheduler.kubeconfig") }

func (c *ControlPlane) path(elements ...string) string {
	return filepath.Join(append([]string{c.Dir}, elements...)...)
}

func (c *ControlPlane) hasNode() bool { return c.PodCIDR.IsValid() }
