// tenantry-cluster is a throwaway Kubernetes in one binary. See README.md.
package main

import (
	"os"

	"tenantry.dev/tests/cluster/internal/cli"
)

func main() {
	os.Exit(cli.Main())
}
