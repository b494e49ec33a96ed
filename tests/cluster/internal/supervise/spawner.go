package supervise

import (
	"os/exec"
	"runtime"
	"syscall"
)

// Spawner starts processes from one thread that it keeps for itself. Two
// things in Linux belong to a thread and not to a process, and need that: the
// namespaces that a child inherits, and the parent whose death a child is told
// of (PDEATHSIG fires when the *thread* that made the child ends).
type Spawner struct {
	work chan func()
}

// NewSpawner takes a thread, runs enter on it (to change its namespaces; nil
// leaves them), and keeps the thread for as long as the program lives.
func NewSpawner(enter func() error) (*Spawner, error) {
	spawner := &Spawner{work: make(chan func())}
	entered := make(chan error, 1)
	go func() {
		// Never unlocked: a thread whose namespaces were changed must not go
		// back to the pool.
		runtime.LockOSThread()
		if enter != nil {
			if err := enter(); err != nil {
				entered <- err
				return
			}
		}
		entered <- nil
		for work := range spawner.work {
			work()
		}
	}()
	return spawner, <-entered
}

// Do runs f on the spawner's thread, and so in its namespaces.
func (s *Spawner) Do(f func() error) error {
	done := make(chan error, 1)
	s.work <- func() { done <- f() }
	return <-done
}

// Start starts cmd in the spawner's namespaces, in a process group of its own,
// killed by the kernel when this program dies.
func (s *Spawner) Start(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	return s.Do(cmd.Start)
}
