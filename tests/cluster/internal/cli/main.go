package cli

import (
	"os"
	"path/filepath"

	"tenantry.dev/tests/cluster/internal/parts"
	"tenantry.dev/tests/cluster/internal/policy"
)

// IsNamed tells whether a program that is called by this name is one of ours,
// whatever its arguments.
func IsNamed(program string) bool {
	name := filepath.Base(program)
	return parts.Known(name) || name == policy.PluginName
}

// Main is the whole program: a part of Kubernetes, when called by its name or
// with that as the first argument, or else this command line. It gives the
// exit code.
func Main() int {
	if filepath.Base(os.Args[0]) == policy.PluginName {
		return policy.RunPlugin()
	}
	if name := filepath.Base(os.Args[0]); parts.Known(name) {
		return parts.Run(name, os.Args[1:])
	}
	if len(os.Args) > 1 && parts.Known(os.Args[1]) {
		return parts.Run(os.Args[1], os.Args[2:])
	}
	parts.DropComponentFlags()
	return run(parts.Names())
}
