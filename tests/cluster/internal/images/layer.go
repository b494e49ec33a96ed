package images

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// plainLayer is a layer whose tar is stored as it is. Compressing costs more
// time on a slow machine than it saves when the image goes no further than the
// containerd beside it.
type plainLayer struct {
	open func() (io.ReadCloser, error)
	hash v1.Hash
	size int64
}

// newPlainLayer reads the tar once, for its hash.
func newPlainLayer(open func() (io.ReadCloser, error)) (v1.Layer, error) {
	reader, err := open()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	hash, size, err := v1.SHA256(reader)
	if err != nil {
		return nil, err
	}
	return partial.CompressedToLayer(&plainLayer{open: open, hash: hash, size: size})
}

func layerOfFile(path string) (v1.Layer, error) {
	return newPlainLayer(func() (io.ReadCloser, error) { return os.Open(path) })
}

func (l *plainLayer) Digest() (v1.Hash, error)            { return l.hash, nil }
func (l *plainLayer) DiffID() (v1.Hash, error)            { return l.hash, nil }
func (l *plainLayer) Size() (int64, error)                { return l.size, nil }
func (l *plainLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }
func (l *plainLayer) Compressed() (io.ReadCloser, error)  { return l.open() }

// layerOfProgram is a layer that holds one executable file.
func layerOfProgram(name string, content func() (io.ReadCloser, int64, error)) (v1.Layer, error) {
	return newPlainLayer(func() (io.ReadCloser, error) {
		program, size, err := content()
		if err != nil {
			return nil, err
		}
		var header bytes.Buffer
		if err := tar.NewWriter(&header).WriteHeader(&tar.Header{
			Name: name, Mode: 0o755, Size: size, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}); err != nil {
			return nil, err
		}
		const block = 512
		padding := (block-size%block)%block + 2*block // to a whole block, and the end of the archive
		return struct {
			io.Reader
			io.Closer
		}{io.MultiReader(&header, program, bytes.NewReader(make([]byte, padding))), program}, nil
	})
}
