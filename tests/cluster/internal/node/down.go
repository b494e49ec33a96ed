package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// stopGrace is for the supervisor to stop its parts, one after the other.
const stopGrace = 25 * time.Second

// Down stops a node and leaves what was there before it, whatever state it is
// in: running, half started, killed, or down already. With keepData the
// cluster's contents stay for the next start; otherwise only the logs do.
func Down(l Layout, keepData bool) error {
	if os.Geteuid() != 0 {
		return errors.New("taking a node down takes root, as starting it did")
	}
	if keepData {
		// Otherwise everything is killed below, which is quicker.
		if err := stopSupervisor(l); err != nil {
			return err
		}
	}
	group, err := findCgroup(l)
	if err != nil {
		return err
	}
	survivors, err := group.processes()
	if err != nil {
		return err
	}
	if err := checkOwner(l, len(survivors) > 0); err != nil {
		return err
	}
	if err := dismantle(l, group); err != nil {
		return err
	}
	if keepData {
		return nil
	}
	return removeState(l)
}

// stopSupervisor ends the supervisor, which stops its parts before.
func stopSupervisor(l Layout) error {
	status, err := ReadStatus(l)
	if err != nil {
		return err
	}
	if !status.Running() {
		return nil
	}
	if err := unix.Kill(status.Supervisor.PID, unix.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("stop the supervisor: %w", err)
	}
	for deadline := time.Now().Add(stopGrace); status.Running(); time.Sleep(cgroupPollDelay) {
		if time.Now().After(deadline) {
			return nil // it is killed with everything else in the cgroup
		}
	}
	return nil
}

// dismantle kills what is left of the node and removes what it made on this
// machine outside of its state folder. The mounts inside of its namespace go
// with the last process and the pin.
func dismantle(l Layout, group cgroup) error {
	if err := group.kill(); err != nil {
		return err
	}
	if err := disconnect(l); err != nil {
		return err
	}
	if err := unmountRunDir(l); err != nil {
		return err
	}
	return group.remove()
}

// removeState removes what the state folder holds, but for the logs, and only
// files that a node made: the folder may have been a wrong one.
func removeState(l Layout) error {
	if _, err := os.Stat(l.recordFile()); errors.Is(err, os.ErrNotExist) {
		if _, err := os.Stat(l.statusFile()); errors.Is(err, os.ErrNotExist) {
			return nil
		}
	}
	entries, err := os.ReadDir(l.Dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(l.Dir, entry.Name())
		if path == l.LogDir() || path == l.recordFile() {
			continue
		}
		if err := os.RemoveAll(path); err != nil {
			return fmt.Errorf("remove the node's state: %w", err)
		}
	}
	// Last: it is what tells a node's folder, should this be killed in between.
	if err := os.Remove(l.recordFile()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
