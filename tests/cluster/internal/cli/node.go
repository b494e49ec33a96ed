package cli

import (
	"errors"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tenantry.dev/tests/cluster/internal/forward"
	"tenantry.dev/tests/cluster/internal/images"
	"tenantry.dev/tests/cluster/internal/node"
)

// readyTimeout suits a slow machine with much else to do.
const readyTimeout = 180 * time.Second

func nodeCommand() *cobra.Command {
	group := &cobra.Command{
		Use:   "node",
		Short: "A Kubernetes of one node on this machine (root)",
	}
	group.AddCommand(nodeUp(), nodeRun(), nodeDown(), nodeStatus())
	return group
}

// nodeFlags are common to the commands about a node.
type nodeFlags struct{ state, name string }

func (f *nodeFlags) add(command *cobra.Command) {
	stateFlag(command, &f.state)
	command.Flags().StringVar(&f.name, "name", "", "the node's name (default: the one in the state folder, or "+node.DefaultName+")")
}

func (f *nodeFlags) layout() (node.Layout, error) { return node.LayoutOf(f.state, f.name) }

func runFlags(command *cobra.Command, options *node.RunOptions) {
	command.Flags().BoolVar(&options.Audit, "audit", false, "write the metadata of every request to DIR/audit.log, as JSON lines")
	command.Flags().DurationVar(&options.Timeout, "timeout", readyTimeout, "how long the node may take to become ready")
}

func nodeUp() *cobra.Command {
	var flags nodeFlags
	var options node.RunOptions
	command := &cobra.Command{
		Use:   "up --state DIR [--name NAME]",
		Short: "Start the node, detached, and wait until it is ready",
		Long: `Start the node, detached, and wait until it is ready: the node itself, CoreDNS, and a default StorageClass. A node
that is up is left alone; one whose processes were killed comes back with what the cluster held. Progress is one JSON
line each: {"event":"starting|ready|failed","part":"...","message":"..."}; the last is about the part "node", or has
the event "failed" with the last lines of that part's log.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := flags.layout()
			if err != nil {
				return err
			}
			return node.Up(command.Context(), l, options, os.Stdout)
		},
	}
	flags.add(command)
	runFlags(command, &options)
	return command
}

func nodeRun() *cobra.Command {
	var flags nodeFlags
	var options node.RunOptions
	command := &cobra.Command{
		Use:   "run --state DIR [--name NAME]",
		Short: "Run the node's supervisor in the foreground",
		Long: `Run the node's supervisor in the foreground, until SIGTERM or SIGINT, or until a part cannot be kept up. Pods
outlive it; "node down" ends them.`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			l, err := flags.layout()
			if err != nil {
				return err
			}
			return node.Run(command.Context(), l, options, os.Stdout)
		},
	}
	flags.add(command)
	runFlags(command, &options)
	return command
}

func nodeDown() *cobra.Command {
	var flags nodeFlags
	var keepData bool
	command := &cobra.Command{
		Use:   "down --state DIR [--name NAME]",
		Short: "Stop the node and leave the machine as it was before",
		Long: `Stop the node and leave the machine as it was before: no process, mount, namespace, link, route or cgroup of it
remains. Works in whatever state the node is, also when it is down. The state folder keeps the logs alone, unless
--keep-data keeps the cluster for the next "node up".`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := flags.layout()
			if err != nil {
				return err
			}
			return node.Down(l, keepData)
		},
	}
	flags.add(command)
	command.Flags().BoolVar(&keepData, "keep-data", false, "keep the cluster's contents, images and volumes")
	return command
}

// fullStatus is what `node status` shows.
type fullStatus struct {
	node.Status
	Images   []images.Stored `json:"images"`
	Forwards []forward.Rule  `json:"forwards"`
}

func nodeStatus() *cobra.Command {
	var flags nodeFlags
	var output string
	command := &cobra.Command{
		Use:   "status --state DIR [--name NAME]",
		Short: "Show what runs",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			l, err := flags.layout()
			if err != nil {
				return err
			}
			status := fullStatus{Images: []images.Stored{}, Forwards: []forward.Rule{}}
			if status.Status, err = node.ReadStatus(l); err != nil {
				return err
			}
			if status.Running() {
				err = status.addContents(command, l, flags.state)
			}
			if asJSON {
				return errors.Join(err, printJSON(status))
			}
			return errors.Join(err, status.print(command))
		},
	}
	flags.add(command)
	outputFlag(command, &output)
	return command
}

// addContents adds what only a running node has.
func (s *fullStatus) addContents(command *cobra.Command, l node.Layout, dir string) error {
	rules, err := forward.ReadRules(l.Forwards())
	if err != nil {
		return err
	}
	s.Forwards = append(s.Forwards, rules...)
	// Without containerd, which may just be starting, no images are known.
	if containerd, err := node.Containerd(dir); err == nil {
		if stored, err := containerd.List(command.Context()); err == nil {
			s.Images = append(s.Images, stored...)
		}
	}
	return nil
}

func (s *fullStatus) print(command *cobra.Command) error {
	out := command.OutOrStdout()
	fmt.Fprintf(out, "node %s: %s since %s\n", s.Name, s.State, s.Since.Format(time.DateTime))
	if s.Failure != "" {
		fmt.Fprintln(out, s.Failure)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "PART\tSTATE\tPID\tRESTARTS\tSINCE")
	for _, part := range s.Parts {
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%s\n", part.Name, part.State, part.PID, part.Restarts, part.Since.Format(time.DateTime))
	}
	for _, rule := range s.Forwards {
		fmt.Fprintf(table, "http://%s\t-> %s/%s:%d\n", rule.Listen, rule.Namespace, rule.Service, rule.Port)
	}
	for _, image := range s.Images {
		fmt.Fprintf(table, "%s\t%s\n", image.Name, image.Digest)
	}
	return table.Flush()
}
