package images

import (
	"context"
	"fmt"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Push sends the image in an archive to a registry, with the credentials that
// `docker login` or `crane auth login` left, and gives its name by digest.
func Push(ctx context.Context, path, reference string) (string, error) {
	image, err := Open(path)
	if err != nil {
		return "", err
	}
	parsed, err := name.ParseReference(reference)
	if err != nil {
		return "", err
	}
	if err := remote.Write(parsed, image, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", fmt.Errorf("push %s: %w", reference, err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", err
	}
	return parsed.Context().Digest(digest.String()).Name(), nil
}
