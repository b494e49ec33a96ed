package supervise

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Process names a process for good: a PID is given to others after its death,
// together with the time of the start it is not.
type Process struct {
	PID int `json:"pid"`
	// StartTime is in clock ticks since boot, as in proc(5).
	StartTime uint64 `json:"startTime"`
}

// Identify gives the identity of the process that has this PID now.
func Identify(pid int) (Process, error) {
	_, started, err := readStat(pid)
	if err != nil {
		return Process{}, err
	}
	return Process{PID: pid, StartTime: started}, nil
}

// Alive tells whether the very same process still runs (a zombie does not).
func (p Process) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	state, started, err := readStat(p.PID)
	return err == nil && started == p.StartTime && state != "Z" && state != "X"
}

// readStat gives state and start time out of /proc/PID/stat.
func readStat(pid int) (state string, started uint64, err error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	data, err := os.ReadFile(path)
	if err != nil {
		return "", 0, err
	}
	// The command's name is in brackets and may hold anything, brackets too.
	end := bytes.LastIndexByte(data, ')')
	fields := strings.Fields(string(data[end+1:]))
	const stateField, startField = 0, 19 // fields 3 and 22, counted from after the name
	if end < 0 || len(fields) <= startField {
		return "", 0, fmt.Errorf("%s: not understood", path)
	}
	started, err = strconv.ParseUint(fields[startField], 10, 64)
	return fields[stateField], started, err
}
