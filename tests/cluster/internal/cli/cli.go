// Package cli is the command line of tenantry-cluster itself.
package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// run runs the command line and gives the exit code: 0, or 1 after an error
// that was written to standard error.
func run(parts []string) int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	root := &cobra.Command{
		Use:   "tenantry-cluster",
		Short: "A throwaway Kubernetes in one binary",
		Long: "A throwaway Kubernetes in one binary.\n\nCalled as `tenantry-cluster PART ...` it is that part, with that part's own arguments: " +
			strings.Join(parts, ", ") + ".",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(controlPlane(), nodeCommand(), imagesCommand(), imageCommand(), forwardCommand(), volumesCommand(), policyCommand())
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "tenantry-cluster:", err)
		return 1
	}
	return 0
}

// printJSON writes one line of JSON to standard output.
func printJSON(value any) error {
	return json.NewEncoder(os.Stdout).Encode(value)
}

func required(command *cobra.Command, flags ...string) {
	for _, flag := range flags {
		if err := command.MarkFlagRequired(flag); err != nil {
			panic(err) // a flag that this very command does not define
		}
	}
}
