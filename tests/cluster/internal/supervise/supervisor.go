package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

const (
	failureLogLines = 15
	probeInterval   = 50 * time.Millisecond
	probeTimeout    = 2 * time.Second
)

// Supervisor keeps parts up. The zero value is not usable: see New.
type Supervisor struct {
	logDir   string
	policy   RestartPolicy
	onChange func([]PartStatus)

	mu      sync.Mutex
	keepers []*keeper
	// failed is closed after failure was set, by the first part that is given up.
	failed  chan struct{}
	failure *Failure
}

// keeper is what the supervisor holds of one part.
type keeper struct {
	part    Part
	status  PartStatus
	process *os.Process
	// stop is closed to end the part, done when it has ended for good.
	stop chan struct{}
	done chan struct{}
}

// New gives a supervisor that writes each part's output to logDir/NAME.log and
// calls onChange (one call at a time) with all states whenever one changes.
func New(logDir string, policy RestartPolicy, onChange func([]PartStatus)) *Supervisor {
	return &Supervisor{logDir: logDir, policy: policy, onChange: onChange, failed: make(chan struct{})}
}

// LogFile is where a part's output goes.
func (s *Supervisor) LogFile(name string) string {
	return filepath.Join(s.logDir, name+".log")
}

// Start starts a part and keeps it up until Stop. That it could be started
// says nothing about its health: see WaitReady.
func (s *Supervisor) Start(part Part) error {
	k := &keeper{
		part:   part,
		status: PartStatus{Name: part.Name, State: Waiting, Since: time.Now()},
		stop:   make(chan struct{}),
		done:   make(chan struct{}),
	}
	s.mu.Lock()
	s.keepers = append(s.keepers, k)
	s.mu.Unlock()
	exited, err := s.launch(k)
	if err != nil {
		close(k.done)
		return fmt.Errorf("start %s: %w", part.Name, err)
	}
	go s.keep(k, exited)
	return nil
}

// keep waits for the part's end and starts it again, until told to stop or the
// policy gives up.
func (s *Supervisor) keep(k *keeper, exited <-chan error) {
	defer close(k.done)
	var deaths []time.Time
	for {
		select {
		case <-k.stop:
			s.terminate(k, exited)
			return
		case err := <-exited:
			now := time.Now()
			deaths = append(deaths, now)
			delay, giveUp := s.policy.Decide(deaths, now)
			if giveUp {
				s.giveUp(k, describeExit(err))
				return
			}
			s.update(k, func(status *PartStatus) {
				status.Process, status.State, status.LastExit = Process{}, Waiting, describeExit(err)
			})
			select {
			case <-k.stop:
				s.update(k, func(status *PartStatus) { status.State = Stopped })
				return
			case <-time.After(delay):
			}
			if exited, err = s.launch(k); err != nil {
				s.giveUp(k, err.Error())
				return
			}
			s.update(k, func(status *PartStatus) { status.Restarts++ })
		}
	}
}

// launch starts the part's process once; the channel gives its end.
func (s *Supervisor) launch(k *keeper) (<-chan error, error) {
	log, err := openLog(s.LogFile(k.part.Name))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := k.part.command()
	cmd.Env = append(os.Environ(), k.part.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := k.part.Spawner.Start(cmd); err != nil {
		return nil, err
	}
	process, err := Identify(cmd.Process.Pid)
	if err != nil {
		process = Process{PID: cmd.Process.Pid} // dead already: Wait will say so
	}
	s.update(k, func(status *PartStatus) {
		k.process = cmd.Process
		status.Process, status.State = process, Running
	})
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	return exited, nil
}

// terminate ends a part on purpose: SIGTERM, and SIGKILL after its grace.
func (s *Supervisor) terminate(k *keeper, exited <-chan error) {
	k.process.Signal(syscall.SIGTERM) // an error means that it is gone already
	select {
	case <-exited:
	case <-time.After(k.part.grace()):
		k.process.Kill()
		<-exited
	}
	s.update(k, func(status *PartStatus) { status.Process, status.State = Process{}, Stopped })
}

func (s *Supervisor) giveUp(k *keeper, exit string) {
	s.update(k, func(status *PartStatus) {
		status.Process, status.State, status.LastExit = Process{}, Failed, exit
	})
	failure := &Failure{
		Part:    k.part.Name,
		Message: fmt.Sprintf("died more than %d times within %s, last with: %s", s.policy.MaxDeaths, s.policy.Within, exit),
		Log:     Tail(s.LogFile(k.part.Name), failureLogLines),
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		s.failure = failure
		close(s.failed)
	}
}

func (s *Supervisor) update(k *keeper, change func(*PartStatus)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := k.status.State
	change(&k.status)
	if k.status.State != before {
		k.status.Since = time.Now()
	}
	if s.onChange != nil {
		s.onChange(s.snapshot())
	}
}

// Parts gives the state of each part, in the order of their start.
func (s *Supervisor) Parts() []PartStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.snapshot()
}

func (s *Supervisor) snapshot() []PartStatus {
	states := make([]PartStatus, len(s.keepers))
	for i, k := range s.keepers {
		states[i] = k.status
	}
	return states
}

// Failed is closed once a part could not be kept up; Failure then says which.
func (s *Supervisor) Failed() <-chan struct{} { return s.failed }

// Failure is the first part that could not be kept up, or nil.
func (s *Supervisor) Failure() *Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failure
}

// WaitReady asks probe until it has no error. It ends early, with a *Failure,
// when any part could not be kept up or the context ends.
func (s *Supervisor) WaitReady(ctx context.Context, part string, probe func(context.Context) error) error {
	ticker := time.NewTicker(probeInterval)
	defer ticker.Stop()
	last := errors.New("never asked")
	for {
		attempt, cancel := context.WithTimeout(ctx, probeTimeout)
		err := probe(attempt)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err // and not "context cancelled", which hides the reason
		}
		select {
		case <-s.failed:
			return s.Failure()
		case <-ctx.Done():
			return &Failure{
				Part:    part,
				Message: fmt.Sprintf("not ready (%v): %v", context.Cause(ctx), last),
				Log:     Tail(s.LogFile(part), failureLogLines),
			}
		case <-ticker.C:
		}
	}
}

// Stop ends all parts, the last started first, and waits for their end.
func (s *Supervisor) Stop() {
	s.mu.Lock()
	keepers := slices.Clone(s.keepers)
	s.mu.Unlock()
	for _, k := range slices.Backward(keepers) {
		close(k.stop)
		<-k.done
	}
}

func describeExit(err error) string {
	if err == nil {
		return "exit status 0"
	}
	return err.Error()
}
