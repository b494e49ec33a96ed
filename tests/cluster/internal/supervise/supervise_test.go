package supervise

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

var impatient = RestartPolicy{MaxDeaths: 2, Within: time.Minute, FirstDelay: time.Millisecond, MaxDelay: time.Millisecond}

func newSpawner(t *testing.T) *Spawner {
	t.Helper()
	spawner, err := NewSpawner(nil)
	if err != nil {
		t.Fatal(err)
	}
	return spawner
}

func shell(t *testing.T, name, script string) Part {
	return Part{Name: name, Program: "/bin/sh", Args: []string{"-c", script}, Spawner: newSpawner(t)}
}

// eventually asks until a condition holds, and fails the test after ten seconds.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestDelaysGrowWithRecentDeathsAndEndInGivingUp(t *testing.T) {
	policy := RestartPolicy{MaxDeaths: 4, Within: time.Minute, FirstDelay: time.Second, MaxDelay: 3 * time.Second}
	now := time.Unix(1_000_000, 0)
	var deaths []time.Time
	for _, want := range []time.Duration{1, 2, 3, 3} {
		deaths = append(deaths, now)
		if delay, giveUp := policy.Decide(deaths, now); giveUp || delay != want*time.Second {
			t.Errorf("death %d: delay %v, give up %v; want %vs", len(deaths), delay, giveUp, want)
		}
	}
	if _, giveUp := policy.Decide(append(deaths, now), now); !giveUp {
		t.Error("one death too many did not end it")
	}
}

func TestOldDeathsAreForgiven(t *testing.T) {
	policy := RestartPolicy{MaxDeaths: 1, Within: time.Minute, FirstDelay: time.Second, MaxDelay: time.Second}
	now := time.Unix(1_000_000, 0)
	deaths := []time.Time{now.Add(-2 * time.Hour), now.Add(-time.Hour), now}
	if _, giveUp := policy.Decide(deaths, now); giveUp {
		t.Error("deaths of long ago were counted")
	}
}

func TestAKilledPartIsStartedAgain(t *testing.T) {
	supervisor := New(t.TempDir(), impatient, nil)
	if err := supervisor.Start(shell(t, "sleeper", "exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	defer supervisor.Stop()
	first := supervisor.Parts()[0].Process
	if !first.Alive() {
		t.Fatal("not running after its start")
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another process took its place", func() bool {
		part := supervisor.Parts()[0]
		return part.State == Running && part.Restarts == 1 && part.Process != first && part.Alive()
	})
	if exit := supervisor.Parts()[0].LastExit; !strings.Contains(exit, "killed") {
		t.Errorf("the end is described as %q", exit)
	}
}

func TestAPartThatKeepsDyingIsNamedWithItsLastWords(t *testing.T) {
	supervisor := New(t.TempDir(), impatient, nil)
	if err := supervisor.Start(shell(t, "doomed", "echo out of luck; exit 7")); err != nil {
		t.Fatal(err)
	}
	defer supervisor.Stop()
	select {
	case <-supervisor.Failed():
	case <-time.After(10 * time.Second):
		t.Fatal("never given up")
	}
	failure := supervisor.Failure()
	if failure.Part != "doomed" || !strings.Contains(failure.Message, "exit status 7") {
		t.Errorf("failure: %+v", failure)
	}
	if text := failure.Error(); !strings.Contains(text, "out of luck") {
		t.Errorf("its last words are missing: %s", text)
	}
	if state := supervisor.Parts()[0].State; state != Failed {
		t.Errorf("state %s", state)
	}
}

func TestWaitReadyNamesAPartThatDoesNotBecomeReady(t *testing.T) {
	supervisor := New(t.TempDir(), impatient, nil)
	if err := supervisor.Start(shell(t, "slow", "echo thinking; exec sleep 1000")); err != nil {
		t.Fatal(err)
	}
	defer supervisor.Stop()
	eventually(t, "it wrote to its log", func() bool { return len(Tail(supervisor.LogFile("slow"), 1)) == 1 })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	err := supervisor.WaitReady(ctx, "slow", func(context.Context) error { return errors.New("port closed") })
	var failure *Failure
	if !errors.As(err, &failure) || failure.Part != "slow" {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"port closed", "thinking"} {
		if !strings.Contains(failure.Error(), want) {
			t.Errorf("%q is missing in: %v", want, failure)
		}
	}
}

func TestStopEndsTheLastStartedFirstAndKillsTheStubborn(t *testing.T) {
	dir := t.TempDir()
	order := filepath.Join(dir, "order")
	supervisor := New(dir, impatient, nil)
	for _, name := range []string{"first", "second"} {
		script := fmt.Sprintf("trap 'echo %s >> %s; kill $!; exit' TERM; sleep 1000 & echo ready; wait", name, order)
		if err := supervisor.Start(shell(t, name, script)); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" is ready", func() bool { return len(Tail(supervisor.LogFile(name), 1)) == 1 })
	}
	stubborn := shell(t, "stubborn", "trap '' TERM; echo ready; exec sleep 1000")
	stubborn.Grace = 50 * time.Millisecond
	if err := supervisor.Start(stubborn); err != nil {
		t.Fatal(err)
	}
	eventually(t, "stubborn is ready", func() bool { return len(Tail(supervisor.LogFile("stubborn"), 1)) == 1 })
	processes := supervisor.Parts()
	supervisor.Stop()
	for _, part := range processes {
		if part.Alive() {
			t.Errorf("%s still runs", part.Name)
		}
	}
	if data, err := os.ReadFile(order); err != nil || string(data) != "second\nfirst\n" {
		t.Errorf("ended in the order %q (%v)", data, err)
	}
}

func TestAnotherProcessWithTheSamePIDIsNotTakenForTheOld(t *testing.T) {
	self, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if !self.Alive() {
		t.Error("this process is not alive")
	}
	self.StartTime++
	if self.Alive() {
		t.Error("a process of another time is taken for this one")
	}
}
