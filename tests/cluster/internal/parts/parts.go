// Package parts holds the programs that are linked into this binary, each
// behind the name that it is called by, each behaving as the original does.
package parts

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"syscall"
	_ "time/tzdata" // CronJobs name time zones, and the machine may not have them

	"github.com/google/go-containerregistry/cmd/crane/cmd"
	"github.com/google/go-containerregistry/pkg/logs"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	helmcmd "helm.sh/helm/v4/pkg/cmd"
	helmkube "helm.sh/helm/v4/pkg/kube"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubectl's and Helm's ways to log in
	"k8s.io/component-base/cli"
	klogs "k8s.io/component-base/logs"
	_ "k8s.io/component-base/logs/json/register"          // --logging-format=json
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // the clients' metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version's metric
	kubectlcmd "k8s.io/kubectl/pkg/cmd"
	kubectlutil "k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	metricsserver "sigs.k8s.io/metrics-server/cmd/metrics-server/app"
)

// programs do not return unless they are done; the result is the exit code.
var programs = map[string]func() int{
	"coredns":                 runCoreDNS,
	"crane":                   runCrane,
	"etcd":                    func() int { etcdmain.Main(os.Args); return 0 },
	"helm":                    runHelm,
	"kube-apiserver":          func() int { return runComponent(apiserver.NewAPIServerCommand) },
	"kube-controller-manager": func() int { return runComponent(controllermanager.NewControllerManagerCommand) },
	"kube-proxy":              func() int { return runComponent(proxy.NewProxyCommand) },
	"kube-scheduler":          func() int { return runComponent(func() *cobra.Command { return scheduler.NewSchedulerCommand() }) },
	"kubectl":                 runKubectl,
	"kubelet": func() int {
		return runComponent(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) })
	},
	"metrics-server": runMetricsServer,
}

// Names gives what Run knows, sorted.
func Names() []string {
	names := make([]string, 0, len(programs))
	for name := range programs {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Known tells whether Run knows the name.
func Known(name string) bool { return programs[name] != nil }

// Run is the program `name` with the arguments args; it gives the exit code.
// It changes os.Args, where these programs look themselves.
func Run(name string, args []string) int {
	os.Args = append([]string{name}, args...)
	if name != "coredns" {
		dropCoreDNSFlags()
	}
	if slices.Contains([]string{"crane", "helm", "kubectl"}, name) {
		DropComponentFlags()
	}
	return programs[name]()
}

// DropComponentFlags hides what Kubernetes' servers register for the whole
// process (--version), which every command line of cobra would take up.
func DropComponentFlags() {
	pflag.CommandLine = pflag.NewFlagSet(os.Args[0], pflag.ExitOnError)
}

// dropCoreDNSFlags hides what CoreDNS registered for the whole process, so
// that the others neither list nor accept nor clash with it.
func dropCoreDNSFlags() {
	clean := flag.NewFlagSet(os.Args[0], flag.ExitOnError)
	flag.CommandLine.VisitAll(func(f *flag.Flag) {
		if !slices.Contains(coreDNSFlags, f.Name) {
			clean.Var(f.Value, f.Name, f.Usage)
		}
	})
	flag.CommandLine = clean
}

func runComponent(command func() *cobra.Command) int {
	return cli.Run(command())
}

// runMetricsServer is metrics-server's own main.
func runMetricsServer() int {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return runComponent(func() *cobra.Command { return metricsserver.NewMetricsServerCommand(ctx.Done()) })
}

// runKubectl is kubectl's own main.
func runKubectl() int {
	// An unreadable verbosity is reported by the real parsing of the flags.
	_, _ = klogs.GlogSetter(kubectlcmd.GetLogVerbosity(os.Args))
	if err := cli.RunNoErrOutput(kubectlcmd.NewDefaultKubectlCommand()); err != nil {
		kubectlutil.CheckErr(err) // says what is wrong and exits
	}
	return 0
}

// runHelm is Helm's own main.
func runHelm() int {
	helmkube.ManagedFieldsManager = "helm"
	command, err := helmcmd.NewRootCmd(os.Stdout, os.Args[1:], helmcmd.SetupLogging)
	if err != nil {
		slog.Warn("command failed", slog.Any("error", err))
		return 1
	}
	if err := command.Execute(); err != nil {
		var failure helmcmd.CommandError
		if errors.As(err, &failure) {
			return failure.ExitCode
		}
		return 1
	}
	return 0
}

// runCrane is crane's own main.
func runCrane() int {
	logs.Warn.SetOutput(os.Stderr)
	logs.Progress.SetOutput(os.Stderr)
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	defer cancel()
	if err := cmd.Root.ExecuteContext(ctx); err != nil {
		return 1
	}
	return 0
}
