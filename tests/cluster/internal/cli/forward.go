package cli

import (
	"github.com/spf13/cobra"
	"k8s.io/client-go/tools/clientcmd"

	"tenantry.dev/tests/cluster/internal/forward"
)

func forwardCommand() *cobra.Command {
	var kubeconfig, kubeContext, rules string
	command := &cobra.Command{
		Use:   "forward --kubeconfig FILE --config FORWARDS.json",
		Short: "Serve Services of a cluster on addresses of this machine",
		Long: `Serve Services of a cluster on addresses of this machine, in the foreground. The config is a list:
[{"listen":"127.0.0.1:18080","namespace":"pcasia-dev","service":"campaigns","port":8080}]; it is read again when it
changes, and may be missing. Each connection goes to a pod that is ready at that moment; without one it is closed.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			loading := &clientcmd.ClientConfigLoadingRules{ExplicitPath: kubeconfig}
			config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(loading,
				&clientcmd.ConfigOverrides{CurrentContext: kubeContext}).ClientConfig()
			if err != nil {
				return err
			}
			config.UserAgent = "tenantry-cluster-forward"
			return forward.Serve(command.Context(), config, rules)
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "the cluster's kubeconfig")
	command.Flags().StringVar(&kubeContext, "context", "", "the context in it (default: the current one)")
	command.Flags().StringVar(&rules, "config", "", "the file with what to forward")
	required(command, "kubeconfig", "config")
	return command
}
