package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

const (
	layoutFile     = "oci-layout"
	indexFile      = "index.json"
	dockerManifest = "manifest.json"
	// nameAnnotation is what containerd reads an imported image's name from.
	nameAnnotation = "io.containerd.image.name"
)

// archive is an OCI image layout inside a tar: its small files read, and of
// all files where they are.
type archive struct {
	path  string
	blobs map[string]span
}

type span struct{ offset, size int64 }

// Open reads the image in a tar: an OCI image layout, or what `docker save`
// wrote before it wrote layouts (whose layers get a new digest).
func Open(path string) (v1.Image, error) {
	a, err := indexArchive(path)
	if err != nil {
		return nil, err
	}
	if _, isLayout := a.blobs[indexFile]; isLayout {
		return a.image()
	}
	docker, err := tarball.ImageFromPath(path, nil)
	if err != nil {
		return nil, fmt.Errorf("%s is no image archive: %w", path, err)
	}
	return plain(docker)
}

// plain rebuilds an image with layers that are not compressed.
func plain(image v1.Image) (v1.Image, error) {
	layers, err := image.Layers()
	if err != nil {
		return nil, err
	}
	for i := range layers {
		if layers[i], err = newPlainLayer(layers[i].Uncompressed); err != nil {
			return nil, err
		}
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := Config{
		Entrypoint: file.Config.Entrypoint, Cmd: file.Config.Cmd, Env: file.Config.Env,
		User: file.Config.User, WorkingDir: file.Config.WorkingDir, Labels: file.Config.Labels,
	}
	for port := range file.Config.ExposedPorts {
		config.ExposedPorts = append(config.ExposedPorts, port)
	}
	return assemble(emptyImage(), layers, config)
}

func indexArchive(file string) (*archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a := &archive{path: file, blobs: map[string]span{}}
	reader := tar.NewReader(f)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		} else if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		a.blobs[path.Clean(header.Name)] = span{offset, header.Size}
	}
}

func (a *archive) open(name string) (io.ReadCloser, error) {
	where, found := a.blobs[name]
	if !found {
		return nil, fmt.Errorf("%s: %s is missing in it", a.path, name)
	}
	file, err := os.Open(a.path)
	if err != nil {
		return nil, err
	}
	return struct {
		io.Reader
		io.Closer
	}{io.NewSectionReader(file, where.offset, where.size), file}, nil
}

func (a *archive) read(name string) ([]byte, error) {
	reader, err := a.open(name)
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	return io.ReadAll(reader)
}

// image gives the layout's only image, or the one for this machine's platform.
func (a *archive) image() (v1.Image, error) {
	name := indexFile
	for {
		data, err := a.read(name)
		if err != nil {
			return nil, err
		}
		index, err := v1.ParseIndexManifest(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("%s: %s: %w", a.path, name, err)
		}
		chosen := choose(index.Manifests)
		if chosen == nil {
			return nil, fmt.Errorf("%s: no image for linux/%s in it", a.path, runtime.GOARCH)
		}
		if !chosen.MediaType.IsIndex() {
			manifest, err := a.read(blobName(chosen.Digest))
			if err != nil {
				return nil, err
			}
			return partial.CompressedToImage(&archivedImage{archive: a, mediaType: chosen.MediaType, manifest: manifest})
		}
		name = blobName(chosen.Digest)
	}
}

func choose(manifests []v1.Descriptor) *v1.Descriptor {
	for i, manifest := range manifests {
		if manifest.Platform == nil || (manifest.Platform.OS == "linux" && manifest.Platform.Architecture == runtime.GOARCH) {
			return &manifests[i]
		}
	}
	return nil
}

// archivedImage is what go-containerregistry needs to know of an image.
type archivedImage struct {
	*archive
	mediaType types.MediaType
	manifest  []byte
}

func (i *archivedImage) MediaType() (types.MediaType, error) { return i.mediaType, nil }
func (i *archivedImage) RawManifest() ([]byte, error)        { return i.manifest, nil }

func (i *archivedImage) RawConfigFile() ([]byte, error) {
	manifest, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	return i.read(blobName(manifest.Config.Digest))
}

func (i *archivedImage) LayerByDigest(digest v1.Hash) (partial.CompressedLayer, error) {
	manifest, err := partial.Manifest(i)
	if err != nil {
		return nil, err
	}
	for _, layer := range append(manifest.Layers, manifest.Config) {
		if layer.Digest == digest {
			return &archivedLayer{archive: i.archive, descriptor: layer}, nil
		}
	}
	return nil, fmt.Errorf("%s: no layer %s in it", i.path, digest)
}

type archivedLayer struct {
	archive    *archive
	descriptor v1.Descriptor
}

func (l *archivedLayer) Digest() (v1.Hash, error)            { return l.descriptor.Digest, nil }
func (l *archivedLayer) Size() (int64, error)                { return l.descriptor.Size, nil }
func (l *archivedLayer) MediaType() (types.MediaType, error) { return l.descriptor.MediaType, nil }
func (l *archivedLayer) Compressed() (io.ReadCloser, error) {
	return l.archive.open(blobName(l.descriptor.Digest))
}

func blobName(digest v1.Hash) string { return path.Join("blobs", digest.Algorithm, digest.Hex) }

// writeLayout writes an image as an OCI image layout in a tar, under the names
// given (none is allowed), without the blobs that has says are there already.
func writeLayout(w io.Writer, image v1.Image, names []string, has func(v1.Hash) bool) error {
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	descriptor, err := partial.Descriptor(image)
	if err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, name := range names {
		named := *descriptor
		named.Annotations = map[string]string{nameAnnotation: name}
		index.Manifests = append(index.Manifests, named)
	}
	if len(names) == 0 {
		index.Manifests = []v1.Descriptor{*descriptor}
	}
	indexJSON, err := json.Marshal(index)
	if err != nil {
		return err
	}
	manifest, err := image.RawManifest()
	if err != nil {
		return err
	}
	config, err := image.RawConfigFile()
	if err != nil {
		return err
	}
	configDigest, err := image.ConfigName()
	if err != nil {
		return err
	}
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	out := tar.NewWriter(w)
	for _, file := range []struct {
		name string
		data []byte
	}{
		{layoutFile, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{indexFile, indexJSON},
		{blobName(digest), manifest},
		{blobName(configDigest), config},
	} {
		if err := writeEntry(out, file.name, int64(len(file.data)), bytes.NewReader(file.data)); err != nil {
			return err
		}
	}
	written := map[v1.Hash]bool{}
	for _, layer := range layers {
		hash, err := layer.Digest()
		if err != nil {
			return err
		}
		if written[hash] || has(hash) {
			continue
		}
		written[hash] = true
		if err := writeLayer(out, hash, layer); err != nil {
			return fmt.Errorf("layer %s: %w", hash, err)
		}
	}
	return out.Close()
}

func writeLayer(out *tar.Writer, hash v1.Hash, layer v1.Layer) error {
	size, err := layer.Size()
	if err != nil {
		return err
	}
	content, err := layer.Compressed()
	if err != nil {
		return err
	}
	defer content.Close()
	return writeEntry(out, blobName(hash), size, content)
}

func writeEntry(out *tar.Writer, name string, size int64, content io.Reader) error {
	header := &tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Typeflag: tar.TypeReg, Format: tar.FormatPAX}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err := io.Copy(out, content)
	return err
}

// Write writes an image to a file, whole or not at all.
func Write(file string, image v1.Image) error {
	partialFile := file + ".partial"
	out, err := os.Create(partialFile)
	if err != nil {
		return err
	}
	err = writeLayout(out, image, nil, func(v1.Hash) bool { return false })
	if err = errors.Join(err, out.Close()); err != nil {
		return errors.Join(err, os.Remove(partialFile))
	}
	return os.Rename(partialFile, file)
}
