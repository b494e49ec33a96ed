//go:build node

package clustertest

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"tenantry.dev/tests/cluster/internal/node"
	"tenantry.dev/tests/cluster/internal/supervise"
)

// machine is what a node could leave behind, as sorted lines by kind.
type machine map[string][]string

// lookAtMachine notes everything. Other nodes may come and go meanwhile (they
// are called tenantry-OTHER), and do not count.
func lookAtMachine(t *testing.T) machine {
	t.Helper()
	m := machine{
		"mounts":     lines(read(t, "/proc/self/mounts")),
		"links":      links(t),
		"routes":     lines(run(t, "ip", "route", "show", "table", "all")),
		"nftables":   lines(run(t, "nft", "list", "ruleset")),
		"cgroups":    cgroups(t),
		"processes":  nil,
		"namespaces": lines(run(t, "ip", "netns", "list")),
	}
	for _, pid := range nodeProcesses(t) {
		m["processes"] = append(m["processes"], fmt.Sprintf("%d %s", pid, read(t, fmt.Sprintf("/proc/%d/comm", pid))))
	}
	for _, folder := range []string{"/run", "/run/netns", "/run/containerd", "/var/lib", "/var/lib/cni", "/var/lib/kubelet",
		"/var/log", "/var/log/pods", "/var/log/containers", "/etc/cni", "/opt", "/tmp/hostpath_pv"} {
		entries, _ := os.ReadDir(folder) // missing is as good as empty
		for _, entry := range entries {
			m["files"] = append(m["files"], filepath.Join(folder, entry.Name()))
		}
	}
	for _, setting := range []string{"kernel/panic", "kernel/panic_on_oops", "vm/overcommit_memory", "vm/panic_on_oom",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "net/ipv4/ip_forward", "net/netfilter/nf_conntrack_max"} {
		value, _ := os.ReadFile("/proc/sys/" + setting)
		m["kernel settings"] = append(m["kernel settings"], setting+"="+string(value))
	}
	for kind := range m {
		m[kind] = slices.DeleteFunc(m[kind], ofAnotherNode)
		slices.Sort(m[kind])
	}
	return m
}

func (m machine) compare(t *testing.T, after machine) {
	t.Helper()
	for kind, before := range m {
		for _, line := range after[kind] {
			if !slices.Contains(before, line) {
				t.Errorf("%s: left behind: %s", kind, line)
			}
		}
		for _, line := range before {
			if !slices.Contains(after[kind], line) {
				t.Errorf("%s: missing now: %s", kind, line)
			}
		}
	}
}

func ofAnotherNode(line string) bool {
	return strings.Contains(line, "tenantry") && !strings.Contains(line, testNode) && !strings.Contains(line, testLink)
}

// testLink is the host's link to the node of these tests.
var testLink = node.Layout{Name: testNode}.Link()

func links(t *testing.T) []string {
	var names []string
	for _, line := range lines(run(t, "ip", "-brief", "link")) {
		name, _, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, "@")
		names = append(names, name)
	}
	return names
}

func cgroups(t *testing.T) []string {
	var folders []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, entry fs.DirEntry, err error) error {
		// Cgroups of others may go while this walks.
		if err == nil && entry.IsDir() && strings.Contains(path, "tenantry") {
			folders = append(folders, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return folders
}

// nodeProcesses are those in the node's cgroup, and those that mention the
// node on their command line. The dead do not count: they are the machine's
// first process's to bury.
func nodeProcesses(t *testing.T) []int {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		group, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cgroup")) // may have ended
		command, _ := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if process, err := supervise.Identify(pid); err != nil || !process.Alive() {
			continue
		}
		if strings.Contains(string(group), "tenantry-"+testNode) || strings.Contains(string(command), testNode) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func run(t *testing.T, program string, args ...string) string {
	t.Helper()
	output, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v: %s", program, args, err, output)
	}
	return string(output)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func lines(text string) []string {
	return strings.Split(strings.TrimSpace(text), "\n")
}
