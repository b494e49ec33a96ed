package node

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"text/template"

	"tenantry.dev/tests/cluster/internal/controlplane"
	"tenantry.dev/tests/cluster/internal/pki"
	"tenantry.dev/tests/cluster/internal/policy"
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
	ProgramImage     string
	PolicyPlugin     string
	PolicySocket     string
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
		CNIPlugins:       filepath.Join(l.State(), "cni-plugins"),
		PolicyPlugin:     policy.PluginName,
		PolicySocket:     l.policySocket(),
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
	if err := n.gatherPlugins(); err != nil {
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

// networkPolicy enforces policies. Pods that start wait for it.
func (n *nodeParts) networkPolicy() supervise.Part {
	return supervise.Part{
		Name:    "network-policy",
		Program: "/proc/self/exe",
		Args: []string{
			"network-policy",
			"--kubeconfig=" + n.path("kubeconfig"),
			"--pods=" + n.block.Pods().String(),
			"--machine=" + n.block.Host().Addr().String(),
			"--socket=" + n.layout.policySocket(),
		},
		Spawner: n.spawner,
	}
}

// gatherPlugins makes one folder of the machine's network plugins and ours:
// containerd looks into one. Ours is this program, by a path that works in
// containerd's mount namespace, and for as long as containerd runs.
func (n *nodeParts) gatherPlugins() error {
	if err := os.RemoveAll(n.settings.CNIPlugins); err != nil {
		return err
	}
	if err := os.MkdirAll(n.settings.CNIPlugins, 0o755); err != nil {
		return err
	}
	installed, err := os.ReadDir(n.tools.cniPlugins)
	if err != nil {
		return err
	}
	plugins := map[string]string{policy.PluginName: fmt.Sprintf("/proc/%d/exe", os.Getpid())}
	for _, plugin := range installed {
		plugins[plugin.Name()] = filepath.Join(n.tools.cniPlugins, plugin.Name())
	}
	for name, target := range plugins {
		if err := os.Symlink(target, filepath.Join(n.settings.CNIPlugins, name)); err != nil {
			return err
		}
	}
	return nil
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

// answers gives a probe that is without error when a socket accepts connections.
func answers(socket string) func(context.Context) error {
	return func(ctx context.Context) error {
		connection, err := new(net.Dialer).DialContext(ctx, "unix", socket)
		if err != nil {
			return err
		}
		return connection.Close()
	}
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
