package cli

import (
	"net/netip"

	"github.com/spf13/cobra"

	"tenantry.dev/tests/cluster/internal/controlplane"
	"tenantry.dev/tests/cluster/internal/policy"
)

// policyCommand is started by the node's supervisor alone.
func policyCommand() *cobra.Command {
	var kubeconfig, pods, machine, socket string
	command := &cobra.Command{
		Use:    "network-policy --kubeconfig FILE --pods CIDR --machine ADDRESS --socket FILE",
		Short:  "Enforce NetworkPolicies",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			network := policy.Network{Machine: make([]netip.Addr, 1)}
			var err error
			if network.Pods, err = netip.ParsePrefix(pods); err != nil {
				return err
			}
			if network.Machine[0], err = netip.ParseAddr(machine); err != nil {
				return err
			}
			client, err := controlplane.Client(kubeconfig)
			if err != nil {
				return err
			}
			agent, err := policy.New(client, network)
			if err != nil {
				return err
			}
			agent.ListenAt(socket)
			return agent.Run(command.Context())
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "the cluster's kubeconfig")
	command.Flags().StringVar(&pods, "pods", "", "the range that pods get their addresses from")
	command.Flags().StringVar(&machine, "machine", "", "the machine's address on its cable to the node")
	command.Flags().StringVar(&socket, "socket", "", "where the network plugin is answered")
	required(command, "kubeconfig", "pods", "machine", "socket")
	return command
}
