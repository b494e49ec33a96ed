package cli

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tenantry.dev/tests/cluster/internal/images"
	"tenantry.dev/tests/cluster/internal/node"
)

func imagesCommand() *cobra.Command {
	group := &cobra.Command{Use: "images", Short: "The images that a running node has"}
	group.AddCommand(imagesImport(), imagesList())
	return group
}

func imagesImport() *cobra.Command {
	var state, name, tag string
	command := &cobra.Command{
		Use:   "import --state DIR --name REPOSITORY[@sha256:...] FILE.tar",
		Short: "Put an image into the node's containerd",
		Long: `Put the image in an archive (OCI layout or docker save) into the node's containerd, as REPOSITORY@DIGEST
and, with --tag, under a tag as well. When the name says a digest, the image must have it. Layers that the node
has are not sent again; an image that it has is left alone ("changed": false).`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			containerd, err := node.Containerd(state)
			if err != nil {
				return err
			}
			image, err := images.Open(args[0])
			if err != nil {
				return err
			}
			imported, err := containerd.Import(command.Context(), image, name, tag)
			if err != nil {
				return err
			}
			return printJSON(imported)
		},
	}
	stateFlag(command, &state)
	command.Flags().StringVar(&name, "name", "", "the image's name, with or without its digest")
	command.Flags().StringVar(&tag, "tag", "", "a further name, REPOSITORY:TAG")
	required(command, "name")
	return command
}

func imagesList() *cobra.Command {
	var state, output string
	command := &cobra.Command{
		Use:   "list --state DIR",
		Short: "List the images that the node has",
		Args:  cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			asJSON, err := wantsJSON(output)
			if err != nil {
				return err
			}
			containerd, err := node.Containerd(state)
			if err != nil {
				return err
			}
			stored, err := containerd.List(command.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(stored)
			}
			table := tabwriter.NewWriter(command.OutOrStdout(), 0, 0, 2, ' ', 0)
			for _, image := range stored {
				fmt.Fprintf(table, "%s\t%s\n", image.Name, image.Digest)
			}
			return table.Flush()
		},
	}
	stateFlag(command, &state)
	outputFlag(command, &output)
	return command
}

func imageCommand() *cobra.Command {
	group := &cobra.Command{Use: "image", Short: "Make and push images, without a container engine"}
	group.AddCommand(imageBuild(), imagePush())
	return group
}

func imageBuild() *cobra.Command {
	var base, config, output string
	var layers []string
	command := &cobra.Command{
		Use:   "build --base BASE.tar|none --layer FILE.tar --config CONFIG.json --output OUT.tar",
		Short: "Make an image of layers",
		Long: `Make an image of a base (an image archive, the tar of a root file system, or none), layers (tars, the lowest
first, taken as they are) and a config ({"entrypoint": [], "cmd": [], "env": ["NAME=value"], "user": "",
"workingDir": "", "exposedPorts": ["8080/tcp"], "labels": {}}). The output is an OCI image layout in a tar. The same
inputs give the same digest, which is printed: {"digest":"sha256:..."}.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			settings, err := images.ReadConfig(config)
			if err != nil {
				return err
			}
			if base == "none" {
				base = ""
			}
			image, err := images.Build(base, layers, settings)
			if err != nil {
				return err
			}
			digest, err := image.Digest()
			if err != nil {
				return err
			}
			if err := images.Write(output, image); err != nil {
				return err
			}
			return printJSON(map[string]string{"digest": digest.String()})
		},
	}
	command.Flags().StringVar(&base, "base", "none", "what the layers lie on: an image archive, a root file system's tar, or none")
	command.Flags().StringArrayVar(&layers, "layer", nil, "a layer's tar; may be repeated, the lowest first")
	command.Flags().StringVar(&config, "config", "", "how its containers start, JSON")
	command.Flags().StringVar(&output, "output", "", "the image archive to write")
	required(command, "config", "output")
	return command
}

func imagePush() *cobra.Command {
	return &cobra.Command{
		Use:   "push FILE.tar REFERENCE",
		Short: "Push an image archive to a registry",
		Long: `Push an image archive to a registry, with the credentials that docker or crane has for it; localhost is
spoken to without TLS. Prints the image's name by digest: {"reference":"REPOSITORY@sha256:..."}.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			reference, err := images.Push(command.Context(), args[0], args[1])
			if err != nil {
				return err
			}
			return printJSON(map[string]string{"reference": reference})
		},
	}
}

func stateFlag(command *cobra.Command, state *string) {
	command.Flags().StringVar(state, "state", "", "the node's state folder")
	required(command, "state")
}

func outputFlag(command *cobra.Command, output *string) {
	command.Flags().StringVarP(output, "output", "o", "text", "text or json")
}

func wantsJSON(output string) (bool, error) {
	switch strings.ToLower(output) {
	case "json":
		return true, nil
	case "text":
		return false, nil
	}
	return false, fmt.Errorf("--output is text or json, not %q", output)
}
