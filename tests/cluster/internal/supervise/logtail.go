package supervise

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"strings"
)

const (
	// maxLogSize is where a part's log is set aside at its next start.
	maxLogSize = 32 << 20
	// tailBytes are enough for the last lines of a talkative part.
	tailBytes = 16 << 10
	maxLine   = 400
)

// openLog opens the log of a part to append to; one grown too big is set aside
// as path.1, and an older one of those is dropped.
func openLog(path string) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.Size() > maxLogSize {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

// Tail gives the last lines of a file, long ones cut. A missing file has none.
func Tail(path string, lines int) []string {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return []string{err.Error()}
	}
	defer file.Close()
	if info, err := file.Stat(); err == nil && info.Size() > tailBytes {
		if _, err := file.Seek(-tailBytes, io.SeekEnd); err != nil {
			return []string{err.Error()}
		}
	}
	data, err := io.ReadAll(io.LimitReader(file, tailBytes))
	if err != nil {
		return []string{err.Error()}
	}
	text := strings.TrimRight(string(data), "\n")
	if text == "" {
		return nil
	}
	all := strings.Split(text, "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	for i, line := range all {
		if len(line) > maxLine {
			all[i] = line[:maxLine] + "…"
		}
	}
	return all
}
