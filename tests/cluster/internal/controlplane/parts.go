package controlplane

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"tenantry.dev/tests/cluster/internal/supervise"
)

const (
	loopback = "127.0.0.1"
	// aggregatorName is the only client that aggregated API servers believe
	// when it speaks for somebody else.
	aggregatorName = "front-proxy-client"
	tokenIssuer    = "https://kubernetes.default.svc.cluster.local"
)

// Etcd keeps the data. It does not wait for the disk: the data is thrown away
// with the cluster, and outlives a killed process anyway.
func (c *ControlPlane) Etcd() supervise.Part {
	client := "https://" + net.JoinHostPort(loopback, strconv.Itoa(c.Ports.EtcdClient))
	peer := "https://" + net.JoinHostPort(loopback, strconv.Itoa(c.Ports.EtcdPeer))
	return c.part("etcd",
		"--name=default",
		"--data-dir="+c.path("etcd"),
		"--listen-client-urls="+client,
		"--advertise-client-urls="+client,
		"--listen-peer-urls="+peer,
		"--initial-advertise-peer-urls="+peer,
		"--initial-cluster=default="+peer,
		"--cert-file="+c.etcdServer.CertFile,
		"--key-file="+c.etcdServer.KeyFile,
		"--trusted-ca-file="+c.etcdAuthority.CertFile,
		"--client-cert-auth",
		"--peer-cert-file="+c.etcdServer.CertFile,
		"--peer-key-file="+c.etcdServer.KeyFile,
		"--peer-trusted-ca-file="+c.etcdAuthority.CertFile,
		"--peer-client-cert-auth",
		"--unsafe-no-fsync",
		"--quota-backend-bytes=4294967296",
		"--log-level=warn",
	)
}

// APIServer needs etcd.
func (c *ControlPlane) APIServer() supervise.Part {
	args := []string{
		"--etcd-servers=https://" + net.JoinHostPort(loopback, strconv.Itoa(c.Ports.EtcdClient)),
		"--etcd-cafile=" + c.etcdAuthority.CertFile,
		"--etcd-certfile=" + c.etcdClient.CertFile,
		"--etcd-keyfile=" + c.etcdClient.KeyFile,
		"--advertise-address=" + c.Address.String(),
		"--secure-port=" + strconv.Itoa(c.Ports.APIServer),
		"--tls-cert-file=" + c.server.CertFile,
		"--tls-private-key-file=" + c.server.KeyFile,
		"--client-ca-file=" + c.Authority.CertFile,
		"--authorization-mode=Node,RBAC",
		"--enable-admission-plugins=NodeRestriction",
		"--service-cluster-ip-range=" + c.ServiceCIDR.String(),
		"--service-account-issuer=" + tokenIssuer,
		"--service-account-key-file=" + c.tokens.CertFile,
		"--service-account-signing-key-file=" + c.tokens.KeyFile,
		"--proxy-client-cert-file=" + c.proxyClient.CertFile,
		"--proxy-client-key-file=" + c.proxyClient.KeyFile,
		"--requestheader-client-ca-file=" + c.proxyAuthority.CertFile,
		"--requestheader-allowed-names=" + aggregatorName,
		"--requestheader-username-headers=X-Remote-User",
		"--requestheader-group-headers=X-Remote-Group",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-",
		"--allow-privileged",
		"--profiling=false",
	}
	if c.hasNode() {
		args = append(args,
			// metrics-server by its pod's address: this network has no route to Services' addresses.
			"--enable-aggregator-routing",
			"--kubelet-client-certificate="+c.kubeletClient.CertFile,
			"--kubelet-client-key="+c.kubeletClient.KeyFile,
			"--kubelet-certificate-authority="+c.Authority.CertFile,
			"--kubelet-preferred-address-types=InternalIP",
		)
	} else {
		// A loopback address cannot be the endpoint of the Service `kubernetes`,
		// and there are no pods to use it.
		args = append(args, "--bind-address="+loopback, "--endpoint-reconciler-type=none")
	}
	if c.Audit {
		args = append(args,
			"--audit-policy-file="+c.auditPolicy(),
			"--audit-log-path="+c.AuditLog(),
			"--audit-log-format=json",
			"--audit-log-maxsize=1024",
		)
	}
	return c.part("kube-apiserver", args...)
}

// ControllerManager must not be started before the API server is ready: it
// ends when the roles that it needs are not there yet.
func (c *ControlPlane) ControllerManager() supervise.Part {
	args := []string{
		"--kubeconfig=" + c.controllerManagerKubeconfig(),
		"--leader-elect=false",
		"--secure-port=0",
		"--use-service-account-credentials",
		"--root-ca-file=" + c.Authority.CertFile,
		"--service-account-private-key-file=" + c.tokens.KeyFile,
		"--cluster-signing-cert-file=" + c.Authority.CertFile,
		"--cluster-signing-key-file=" + c.Authority.KeyFile,
		"--service-cluster-ip-range=" + c.ServiceCIDR.String(),
		// The default of 20 requests a second is made for shared clusters.
		"--kube-api-qps=300",
		"--kube-api-burst=600",
		"--flex-volume-plugin-dir=" + c.path("flexvolumes"),
		"--profiling=false",
	}
	if len(c.WithoutControllers) > 0 {
		args = append(args, "--controllers=*,-"+strings.Join(c.WithoutControllers, ",-"))
	}
	if c.hasNode() {
		args = append(args,
			"--allocate-node-cidrs",
			"--cluster-cidr="+c.PodCIDR.String(),
			// One node, which gets everything.
			"--node-cidr-mask-size="+strconv.Itoa(c.PodCIDR.Bits()),
			// The defaults wait for minutes before they believe a new pod's use.
			"--horizontal-pod-autoscaler-sync-period=5s",
			"--horizontal-pod-autoscaler-initial-readiness-delay=10s",
			"--horizontal-pod-autoscaler-cpu-initialization-period=20s",
		)
	}
	return c.part("kube-controller-manager", args...)
}

// Scheduler is only of use with a node.
func (c *ControlPlane) Scheduler() supervise.Part {
	return c.part("kube-scheduler",
		"--kubeconfig="+c.schedulerKubeconfig(),
		"--authentication-kubeconfig="+c.schedulerKubeconfig(),
		"--authorization-kubeconfig="+c.schedulerKubeconfig(),
		"--leader-elect=false",
		"--bind-address="+loopback,
		"--profiling=false",
	)
}

func (c *ControlPlane) part(name string, args ...string) supervise.Part {
	return supervise.Part{Name: name, Args: args, Spawner: c.Spawner}
}

func (c *ControlPlane) auditPolicy() string { return c.path("audit-policy.yaml") }

func (c *ControlPlane) writeAuditPolicy() error {
	const policy = `apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
`
	if err := os.WriteFile(c.auditPolicy(), []byte(policy), 0o600); err != nil {
		return fmt.Errorf("audit policy: %w", err)
	}
	return nil
}
