package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"tenantry.dev/tests/cluster/internal/supervise"
)

// kernelSettings are changed by kubelet for the whole machine. The node shows
// it files of these names instead, which have the values that it wants.
var kernelSettings = map[string]string{
	"kernel/keys/root_maxbytes": "25000000",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
}

// privateFolders are replaced, for the node's processes, by folders of the
// same name in the state folder: containerd, kubelet, the network plugins and
// the volume provisioner have fixed paths in each of them.
var privateFolders = []string{"/var/lib", "/var/log", "/tmp"}

// mountRunDir mounts the run folder and, in it, the state folder, unless they
// are mounted.
func mountRunDir(l Layout) error {
	if isMounted(l.RunDir()) {
		return nil
	}
	if err := os.MkdirAll(l.RunDir(), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("tmpfs", l.RunDir(), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=16m"); err != nil {
		return fmt.Errorf("mount %s: %w", l.RunDir(), err)
	}
	// Pins of mount namespaces are refused on mounts that others see.
	if err := unix.Mount("", l.RunDir(), "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make %s private: %w", l.RunDir(), err)
	}
	if err := os.WriteFile(l.ownerFile(), []byte(l.Dir), 0o644); err != nil {
		return err
	}
	if err := os.Mkdir(l.State(), 0o755); err != nil {
		return err
	}
	return bind(l.Dir, l.State())
}

// unmountRunDir lets go of everything that hangs on the run folder: the other
// path to the state folder, and the pins of the namespaces.
func unmountRunDir(l Layout) error {
	for isMounted(l.RunDir()) {
		if err := unix.Unmount(l.RunDir(), unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unmount %s: %w", l.RunDir(), err)
		}
	}
	if err := os.Remove(l.RunDir()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// hasNamespaces tells whether the node's namespaces are there to come back to.
func hasNamespaces(l Layout) bool {
	return isNamespace(l.networkPin()) && isNamespace(l.mountPin())
}

// enterNamespaces gives a spawner whose children live in the node's network
// and mount namespaces: those that are pinned, or new ones.
func enterNamespaces(l Layout) (*supervise.Spawner, error) {
	if hasNamespaces(l) {
		return supervise.NewSpawner(func() error { return joinNamespaces(l) })
	}
	var thread int
	spawner, err := supervise.NewSpawner(func() error {
		thread = unix.Gettid()
		return makeNamespaces(l)
	})
	if err != nil {
		return nil, err
	}
	for pin, kind := range map[string]string{l.networkPin(): "net", l.mountPin(): "mnt"} {
		if err := os.WriteFile(pin, nil, 0o600); err != nil {
			return nil, err
		}
		if err := bind(fmt.Sprintf("/proc/self/task/%d/ns/%s", thread, kind), pin); err != nil {
			return nil, fmt.Errorf("keep the %s namespace: %w", kind, err)
		}
	}
	return spawner, nil
}

func joinNamespaces(l Layout) error {
	network, err := os.Open(l.networkPin())
	if err != nil {
		return err
	}
	defer network.Close()
	mounts, err := os.Open(l.mountPin())
	if err != nil {
		return err
	}
	defer mounts.Close()
	// A thread that shares its working directory with others cannot change
	// its mount namespace.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("unshare the working directory: %w", err)
	}
	if err := unix.Setns(int(network.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter the node's network: %w", err)
	}
	if err := unix.Setns(int(mounts.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the node's mounts: %w", err)
	}
	return nil
}

// makeNamespaces gives the calling thread a network with nothing in it, and
// the host's mounts with private folders over some of them. The host's mounts
// and unmounts come through; the node's stay its own, and end with it.
func makeNamespaces(l Layout) error {
	if err := unix.Unshare(unix.CLONE_NEWNET | unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("make namespaces (is this root?): %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("cut the mounts off from the host: %w", err)
	}
	if err := hideRun(l); err != nil {
		return err
	}
	for _, folder := range privateFolders {
		private := filepath.Join(l.State(), "private", folder)
		if err := os.MkdirAll(private, 0o755); err != nil {
			return err
		}
		if err := bind(private, folder); err != nil {
			return err
		}
	}
	if err := os.Chmod("/tmp", 0o1777); err != nil {
		return err
	}
	for setting, value := range kernelSettings {
		file := filepath.Join("/run/kernel-settings", strings.ReplaceAll(setting, "/", "."))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(value+"\n"), 0o644); err != nil {
			return err
		}
		if err := bind(file, filepath.Join("/proc/sys", setting)); err != nil {
			return err
		}
	}
	// Volumes may ask that mounts made in a pod are seen by others.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share mounts inside the node: %w", err)
	}
	return nil
}

// hideRun puts an empty /run over the host's, with the node's run folder in it.
func hideRun(l Layout) error {
	folder, err := unix.Open(l.RunDir(), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", l.RunDir(), err)
	}
	defer unix.Close(folder)
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID, "mode=0755"); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if err := os.Mkdir(l.RunDir(), 0o755); err != nil {
		return err
	}
	return bind(fmt.Sprintf("/proc/self/fd/%d", folder), l.RunDir())
}

func bind(source, target string) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s to %s: %w", source, target, err)
	}
	return nil
}

// isMounted tells whether path is the root of a mount.
func isMounted(path string) bool {
	var here, above unix.Stat_t
	if unix.Lstat(path, &here) != nil || unix.Lstat(filepath.Dir(path), &above) != nil {
		return false
	}
	return here.Dev != above.Dev
}

func isNamespace(path string) bool {
	var info unix.Statfs_t
	return unix.Statfs(path, &info) == nil && info.Type == unix.NSFS_MAGIC
}
