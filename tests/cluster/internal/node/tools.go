package node

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// tools are the machine's own programs that a node needs.
type tools struct {
	containerd string
	cniPlugins string
}

// findTools says everything that is missing at once, and what to install.
func findTools() (tools, error) {
	if os.Geteuid() != 0 {
		return tools{}, errors.New("a node makes namespaces, mounts and cgroups: run this as root")
	}
	var t tools
	var missing []string
	for _, tool := range []struct{ program, debian string }{
		{"containerd", "containerd"},
		{"ctr", "containerd"},
		{"containerd-shim-runc-v2", "containerd"},
		{"runc", "runc"},
		{"nft", "nftables"},
		{"conntrack", "conntrack"},
	} {
		path, err := exec.LookPath(tool.program)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s (Debian package %s)", tool.program, tool.debian))
		} else if tool.program == "containerd" {
			t.containerd = path
		}
	}
	for _, folder := range []string{"/usr/lib/cni", "/opt/cni/bin", "/usr/libexec/cni"} {
		if _, err := os.Stat(filepath.Join(folder, "ptp")); err == nil {
			t.cniPlugins = folder
			break
		}
	}
	if t.cniPlugins == "" {
		missing = append(missing, "the CNI plugins (Debian package containernetworking-plugins)")
	}
	if len(missing) > 0 {
		return tools{}, fmt.Errorf("this machine lacks %s", strings.Join(missing, ", "))
	}
	return t, nil
}
