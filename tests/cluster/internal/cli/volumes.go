package cli

import (
	"github.com/spf13/cobra"

	"tenantry.dev/tests/cluster/internal/controlplane"
	"tenantry.dev/tests/cluster/internal/volumes"
)

// volumesCommand is started by the node's supervisor alone.
func volumesCommand() *cobra.Command {
	var kubeconfig, name, dir string
	command := &cobra.Command{
		Use:    "volumes --kubeconfig FILE --node NAME --dir DIR",
		Short:  "Make folders into volumes",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			client, err := controlplane.Client(kubeconfig)
			if err != nil {
				return err
			}
			return volumes.Serve(command.Context(), client, name, dir)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "the cluster's kubeconfig")
	command.Flags().StringVar(&name, "node", "", "the node's name")
	command.Flags().StringVar(&dir, "dir", "", "where the folders are made")
	required(command, "kubeconfig", "node", "dir")
	return command
}
