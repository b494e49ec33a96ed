// Package forward lets Services of a cluster be reached on addresses of this
// machine, through the API server's port-forward. Each connection goes to a
// pod that is ready at that moment, so that a roll-out never leaves a forward
// that leads nowhere.
package forward

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// Rule is one address that is listened on, and the Service behind it.
type Rule struct {
	// Listen is HOST:PORT on this machine.
	Listen    string `json:"listen"`
	Namespace string `json:"namespace"`
	Service   string `json:"service"`
	// Port is the Service's, by number.
	Port int32 `json:"port"`
}

// ReadRules reads a file with a JSON list of rules; a missing file has none.
func ReadRules(path string) ([]Rule, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	return parseRules(path, data)
}

func parseRules(path string, data []byte) ([]Rule, error) {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var rules []Rule
	if err := decoder.Decode(&rules); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	seen := map[string]bool{}
	for i, rule := range rules {
		if err := rule.check(); err != nil {
			return nil, fmt.Errorf("%s: entry %d: %w", path, i, err)
		}
		if seen[rule.Listen] {
			return nil, fmt.Errorf("%s: entry %d: %s is in the list already", path, i, rule.Listen)
		}
		seen[rule.Listen] = true
	}
	return rules, nil
}

func (r Rule) check() error {
	if _, _, err := net.SplitHostPort(r.Listen); err != nil {
		return fmt.Errorf("listen: write HOST:PORT: %w", err)
	}
	if r.Namespace == "" || r.Service == "" || r.Port < 1 || r.Port > 65535 {
		return errors.New("namespace, service and a port from 1 to 65535 are needed")
	}
	return nil
}
