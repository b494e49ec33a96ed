package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroup is the node's cgroup, a folder of the same name in each hierarchy.
// Everything that the node ever starts is in it: the supervisor with its parts
// and containerd's shims in the child `system`, pods in `kubepods`. A process
// cannot leave it by forking, so that the list of its processes is complete.
type cgroup struct {
	// folders are the node's cgroup in each hierarchy, the tracking one first.
	folders []string
	unified bool
}

const (
	systemCgroup    = "system"
	killDeadline    = 20 * time.Second
	cgroupPollDelay = 20 * time.Millisecond
)

// findCgroup looks where the machine has its cgroups mounted.
func findCgroup(l Layout) (cgroup, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return cgroup{}, err
	}
	var legacy []string
	unified := ""
	for line := range strings.Lines(string(data)) {
		before, after, found := strings.Cut(line, " - ")
		fields, kind := strings.Fields(before), strings.Fields(after)
		if !found || len(fields) < 5 || len(kind) < 3 {
			continue
		}
		switch kind[0] {
		case "cgroup":
			legacy = append(legacy, filepath.Join(fields[4], l.Cgroup()))
		case "cgroup2":
			unified = filepath.Join(fields[4], l.Cgroup())
		}
	}
	if len(legacy) == 0 && unified == "" {
		return cgroup{}, errors.New("no cgroup file system is mounted")
	}
	if len(legacy) == 0 {
		return cgroup{folders: []string{unified}, unified: true}, nil
	}
	// runc puts containers into every legacy hierarchy; `pids` is the one that
	// nothing needs to be set up in, and there since Linux 4.3.
	tracking := slices.IndexFunc(legacy, func(folder string) bool {
		return filepath.Base(filepath.Dir(folder)) == "pids"
	})
	if tracking < 0 {
		return cgroup{}, errors.New("the cgroup hierarchy `pids` is not mounted")
	}
	legacy[0], legacy[tracking] = legacy[tracking], legacy[0]
	if unified != "" {
		// A hybrid: runc makes the same folders there, without need.
		legacy = append(legacy, unified)
	}
	return cgroup{folders: legacy}, nil
}

func (c cgroup) tracking() string { return c.folders[0] }

// create makes the cgroup and puts the calling process into it.
func (c cgroup) create() error {
	for _, folder := range c.folders {
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return fmt.Errorf("make cgroup: %w", err)
		}
		if err := c.prepare(folder); err != nil {
			return err
		}
	}
	system := filepath.Join(c.tracking(), systemCgroup)
	if err := os.MkdirAll(system, 0o755); err != nil {
		return fmt.Errorf("make cgroup: %w", err)
	}
	if err := os.WriteFile(filepath.Join(system, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("enter cgroup %s: %w", system, err)
	}
	return nil
}

// prepare does what a new cgroup needs before it can have children that count:
// a legacy cpuset is empty, and a unified cgroup gives its children nothing.
func (c cgroup) prepare(folder string) error {
	if c.unified {
		for _, level := range []string{filepath.Dir(folder), folder} {
			available, err := os.ReadFile(filepath.Join(level, "cgroup.controllers"))
			if err != nil {
				return err
			}
			for controller := range strings.FieldsSeq(string(available)) {
				// Some cannot be given on, which then nobody misses.
				_ = os.WriteFile(filepath.Join(level, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
			}
		}
		return nil
	}
	for _, name := range []string{"cpuset.cpus", "cpuset.mems"} {
		above, err := os.ReadFile(filepath.Join(filepath.Dir(folder), name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // another hierarchy
		} else if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, name), above, 0o644); err != nil {
			return fmt.Errorf("set up cgroup: %w", err)
		}
	}
	return nil
}

// processes lists what is in the cgroup and below.
func (c cgroup) processes() ([]int, error) {
	var pids []int
	err := filepath.WalkDir(c.tracking(), func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed while walking, or never made
		}
		if err != nil || entry.Name() != "cgroup.procs" {
			return err
		}
		data, err := os.ReadFile(path)
		if errors.Is(err, unix.ENODEV) || errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		for field := range strings.FieldsSeq(string(data)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				return err
			}
			pids = append(pids, pid)
		}
		return nil
	})
	return pids, err
}

// kill ends everything in the cgroup and returns when it is empty.
func (c cgroup) kill() error {
	for deadline := time.Now().Add(killDeadline); ; time.Sleep(cgroupPollDelay) {
		pids, err := c.processes()
		if err != nil || len(pids) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v of the node do not end, even killed", pids)
		}
		for _, pid := range pids {
			if pid == os.Getpid() {
				return errors.New("this process is in the node's cgroup itself; take the node down from outside")
			}
			// Gone in between is as good as killed.
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}

// remove removes the cgroup, which must be empty, with all that is below it.
func (c cgroup) remove() error {
	for _, folder := range c.folders {
		var below []string
		err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err == nil && entry.IsDir() {
				below = append(below, path)
			}
			return err
		})
		if err != nil {
			return err
		}
		for _, path := range slices.Backward(below) {
			if err := removeCgroup(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// removeCgroup waits a little: the dead count as members until they are reaped.
func removeCgroup(path string) error {
	for deadline := time.Now().Add(killDeadline); ; time.Sleep(cgroupPollDelay) {
		err := unix.Rmdir(path)
		if err == nil || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(deadline) {
			return fmt.Errorf("remove cgroup %s: %w", path, err)
		}
	}
}
