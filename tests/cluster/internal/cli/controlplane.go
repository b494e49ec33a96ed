package cli

import (
	"context"
	"io"
	"os"

	"github.com/spf13/cobra"

	"tenantry.dev/tests/cluster/internal/controlplane"
)

func controlPlane() *cobra.Command {
	group := &cobra.Command{
		Use:   "control-plane",
		Short: "etcd, API server and controller manager on loopback, without a node",
	}
	var options controlplane.RunOptions
	var untilStdinCloses bool
	run := &cobra.Command{
		Use:   "run --state DIR",
		Short: "Run a control plane in the foreground",
		Long: `Run etcd, API server and controller manager on free ports of 127.0.0.1, as any user, as many
side by side as wanted (each with its own DIR). When they can be used, one line of JSON says how:
{"event":"ready","kubeconfig":"PATH","server":"https://127.0.0.1:PORT","auditLog":"PATH"}.
Ends with all its children on SIGTERM and SIGINT.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			ctx, cancel := context.WithCancel(command.Context())
			defer cancel()
			if untilStdinCloses {
				go func() {
					// However reading ends, whoever started this is gone.
					_, _ = io.Copy(io.Discard, os.Stdin)
					cancel()
				}()
			}
			var printed error
			err := controlplane.Run(ctx, options, func(ready controlplane.Ready) {
				if printed = printJSON(ready); printed != nil {
					cancel()
				}
			})
			if err != nil {
				return err
			}
			return printed
		},
	}
	run.Flags().StringVar(&options.Dir, "state", "", "folder for data, certificates, kubeconfig and logs; made if missing")
	run.Flags().BoolVar(&options.Audit, "audit", false, "write the metadata of every request to DIR/audit.log, as JSON lines")
	run.Flags().StringSliceVar(&options.WithoutControllers, "without-controllers", nil,
		"names of controllers that the controller manager leaves out, as its --controllers has them")
	run.Flags().BoolVar(&untilStdinCloses, "until-stdin-closes", false, "end when standard input closes, and so with whoever holds its other end")
	required(run, "state")
	group.AddCommand(run)
	return group
}
