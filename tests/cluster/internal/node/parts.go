package node

import (
	"bytes"
	"context"
	"embed"
	"net"
	"os"
	"path/filepath"
	"text/template"

	"tenantry.dev/tests/cluster/internal/controlplane"
	"tenantry.dev/tests/cluster/internal/pki"
	"tenantry.dev/tests/cluster/internal/supervise"
)

//go:embed files
var files embed.FS

// pauseImage is the name under which containerd looks for the sandboxes' image.
const pauseImage = "tenantry.local/pause:1"

// settings fill the templates of the parts' configuration files.
type settings struct {
	Name             string
	State            string
	Cgroup           string
	ContainerdSocket string
	CNIPlugins       string
	PauseImage       string
	PodCIDR          string
	DNSAddress       string
	CAFile           string
	KubeletCertFile  string
	KubeletKeyFile   string
	ProxyKubeconfig  string
	CoreDNSImage     string
}

// nodeParts are containerd, kubelet and kube-proxy: what makes a machine with
// a control plane a node.
type nodeParts struct {
	layout   Layout
	block    Block
	tools    tools
	spawner  *supervise.Spawner
	settings settings
}

// prepareNodeParts writes the certificates and configuration files that the
// parts read.
func prepareNodeParts(l Layout, block Block, t tools, c *controlplane.ControlPlane) (*nodeParts, error) {
	serving, err := c.Authority.Issue("kubelet", pki.Request{
		CommonName: "system:node:" + l.Name, Organizations: []string{"system:nodes"},
		Hosts: []string{l.Name, block.Node().Addr().String()},
	})
	if err != nil {
		return nil, err
	}
	n := &nodeParts{layout: l, block: block, tools: t, spawner: c.Spawner, settings: settings{
		Name:             l.Name,
		State:            l.State(),
		Cgroup:           l.Cgroup(),
		ContainerdSocket: l.containerdSocket(),
		CNIPlugins:       t.cniPlugins,
		PauseImage:       pauseImage,
		PodCIDR:          block.Pods().String(),
		DNSAddress:       block.DNS().String(),
		CAFile:           c.Authority.CertFile,
		KubeletCertFile:  serving.CertFile,
		KubeletKeyFile:   serving.KeyFile,
		ProxyKubeconfig:  filepath.Join(l.State(), "kube-proxy.kubeconfig"),
	}}
	if err := c.WriteKubeconfig(n.kubeletKubeconfig(), "system:node:"+l.Name, "system:nodes"); err != nil {
		return nil, err
	}
	if err := c.WriteKubeconfig(n.settings.ProxyKubeconfig, "system:kube-proxy"); err != nil {
		return nil, err
	}
	for template, target := range map[string]string{
		"containerd.toml":  n.path("containerd.toml"),
		"kubelet.yaml":     n.path("kubelet.yaml"),
		"kube-proxy.yaml":  n.path("kube-proxy.yaml"),
		"network.conflist": n.path("cni/10-tenantry.conflist"),
	} {
		content, err := n.render(template)
		if err != nil {
			return nil, err
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return nil, err
		}
		if err := os.WriteFile(target, content, 0o600); err != nil {
			return nil, err
		}
	}
	return n, nil
}

func (n *nodeParts) containerd() supervise.Part {
	return supervise.Part{
		Name:    "containerd",
		Program: n.tools.containerd,
		Args:    []string{"--config", n.path("containerd.toml")},
		Spawner: n.spawner,
	}
}

func (n *nodeParts) kubelet() supervise.Part {
	return supervise.Part{
		Name: "kubelet",
		Args: []string{
			"--config=" + n.path("kubelet.yaml"),
			"--kubeconfig=" + n.kubeletKubeconfig(),
			"--hostname-override=" + n.layout.Name,
			"--node-ip=" + n.block.Node().Addr().String(),
		},
		Spawner: n.spawner,
	}
}

func (n *nodeParts) kubeProxy() supervise.Part {
	return supervise.Part{
		Name:    "kube-proxy",
		Args:    []string{"--config=" + n.path("kube-proxy.yaml")},
		Spawner: n.spawner,
	}
}

// volumes makes the folders that claims ask for, where kubelet sees them.
func (n *nodeParts) volumes() supervise.Part {
	return supervise.Part{
		Name:    "volumes",
		Program: "/proc/self/exe",
		Args:    []string{"volumes", "--kubeconfig=" + n.path("kubeconfig"), "--node=" + n.layout.Name, "--dir=" + n.path("volumes")},
		Spawner: n.spawner,
	}
}

// forward serves on the host's loopback, and so outside of the namespaces.
func (n *nodeParts) forward(host *supervise.Spawner) supervise.Part {
	return supervise.Part{
		Name:    "forward",
		Program: "/proc/self/exe",
		Args:    []string{"forward", "--kubeconfig=" + n.layout.Kubeconfig(), "--config=" + n.layout.Forwards()},
		Spawner: host,
	}
}

// containerdAnswers is without error when containerd accepts connections.
func (n *nodeParts) containerdAnswers(ctx context.Context) error {
	connection, err := new(net.Dialer).DialContext(ctx, "unix", n.layout.containerdSocket())
	if err != nil {
		return err
	}
	return connection.Close()
}

func (n *nodeParts) render(name string) ([]byte, error) {
	parsed, err := template.New(name).Option("missingkey=error").ParseFS(files, "files/"+name)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	if err := parsed.ExecuteTemplate(&content, name, n.settings); err != nil {
		return nil, err
	}
	return content.Bytes(), nil
}

func (n *nodeParts) kubeletKubeconfig() string { return n.path("kubelet.kubeconfig") }

func (n *nodeParts) path(name string) string { return filepath.Join(n.layout.State(), name) }
