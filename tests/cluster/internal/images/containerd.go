package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Containerd is a running containerd, spoken to by its own client program.
type Containerd struct {
	Socket string
}

// Stored is an image that containerd has.
type Stored struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
}

// Imported says what an import did.
type Imported struct {
	Digest string   `json:"digest"`
	Names  []string `json:"names"`
	// Changed is false when everything was there already.
	Changed bool `json:"changed"`
}

// List gives the images that Kubernetes can use, sorted by name, without the
// bare digests that containerd's Kubernetes plugin adds for itself.
func (c Containerd) List(ctx context.Context) ([]Stored, error) {
	output, err := c.ctr(ctx, nil, "images", "list")
	if err != nil {
		return nil, err
	}
	stored := []Stored{}
	for i, line := range strings.Split(strings.TrimSpace(output), "\n") {
		// REF TYPE DIGEST SIZE ...
		if fields := strings.Fields(line); i > 0 && len(fields) > 2 && !strings.HasPrefix(fields[0], "sha256:") {
			stored = append(stored, Stored{Name: fields[0], Digest: fields[2]})
		}
	}
	slices.SortFunc(stored, func(a, b Stored) int { return strings.Compare(a.Name, b.Name) })
	return stored, nil
}

// Import puts an image into containerd under repository@digest, where the
// reference may end with the digest that is expected, and under the tag if one
// is given. Only layers that containerd does not have are sent.
func (c Containerd) Import(ctx context.Context, image v1.Image, reference, tag string) (Imported, error) {
	digest, err := image.Digest()
	if err != nil {
		return Imported{}, err
	}
	names, err := namesFor(reference, tag, digest)
	if err != nil {
		return Imported{}, err
	}
	imported := Imported{Digest: digest.String(), Names: names}
	stored, err := c.List(ctx)
	if err != nil {
		return Imported{}, err
	}
	for _, name := range names {
		if !slices.Contains(stored, Stored{Name: name, Digest: digest.String()}) {
			imported.Changed = true
		}
	}
	if !imported.Changed {
		return imported, nil
	}
	blobs, err := c.ctr(ctx, nil, "content", "list", "--quiet")
	if err != nil {
		return Imported{}, err
	}
	has := func(hash v1.Hash) bool { return slices.Contains(strings.Fields(blobs), hash.String()) }
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(writeLayout(writer, image, names, has)) }()
	if _, err := c.ctr(ctx, reader, "images", "import", "-"); err != nil {
		return Imported{}, errors.Join(fmt.Errorf("import %s: %w", names[0], err), reader.CloseWithError(err))
	}
	return imported, nil
}

// namesFor gives the full names that containerd is to know the image by.
func namesFor(reference, tag string, digest v1.Hash) ([]string, error) {
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return nil, fmt.Errorf("image name: %w", err)
	}
	if expected, ok := parsed.(name.Digest); ok && expected.DigestStr() != digest.String() {
		return nil, fmt.Errorf("the image has the digest %s and not %s", digest, expected.DigestStr())
	}
	names := []string{parsed.Context().Digest(digest.String()).Name()}
	if tag != "" {
		parsed, err := name.NewTag(tag)
		if err != nil {
			return nil, fmt.Errorf("image tag: %w", err)
		}
		names = append(names, parsed.Name())
	}
	return names, nil
}

func (c Containerd) ctr(ctx context.Context, input io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "ctr", append([]string{"--address", c.Socket, "--namespace", "k8s.io"}, args...)...)
	var output, complaints bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, &output, &complaints
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("ctr %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return output.String(), nil
}
