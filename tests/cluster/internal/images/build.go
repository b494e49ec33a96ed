// Package images makes container images without a container engine, puts them
// into the node's containerd, and pushes them to registries. The same inputs
// give the same digest, always.
package images

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Config is how containers of an image start. Unknown keys are errors.
type Config struct {
	Entrypoint []string `json:"entrypoint,omitempty"`
	Cmd        []string `json:"cmd,omitempty"`
	// Env has entries of the form NAME=value.
	Env        []string `json:"env,omitempty"`
	User       string   `json:"user,omitempty"`
	WorkingDir string   `json:"workingDir,omitempty"`
	// ExposedPorts has entries of the form 8080/tcp.
	ExposedPorts []string          `json:"exposedPorts,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
}

// ReadConfig reads a Config from a JSON file.
func ReadConfig(path string) (Config, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, err
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	var config Config
	if err := decoder.Decode(&config); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return config, nil
}

// Build makes an image of a base (an image archive, or the tar of a root file
// system; empty for none), layers (tars, lowest first) and a config.
func Build(base string, layers []string, config Config) (v1.Image, error) {
	image := emptyImage()
	if base != "" {
		isImage, err := isImageArchive(base)
		if err != nil {
			return nil, fmt.Errorf("base image: %w", err)
		}
		if isImage {
			if image, err = Open(base); err != nil {
				return nil, fmt.Errorf("base image: %w", err)
			}
		} else {
			layers = append([]string{base}, layers...)
		}
	}
	var added []v1.Layer
	for _, path := range layers {
		layer, err := layerOfFile(path)
		if err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		added = append(added, layer)
	}
	return assemble(image, added, config)
}

func emptyImage() v1.Image {
	return mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
}

// assemble puts layers on an image and gives it a config with nothing in it
// that depends on when and where it was made.
func assemble(image v1.Image, layers []v1.Layer, config Config) (v1.Image, error) {
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, err
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.Created = v1.Time{Time: time.Unix(0, 0).UTC()}
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.History = nil
	file.Config = v1.Config{
		Entrypoint: config.Entrypoint,
		Cmd:        config.Cmd,
		Env:        config.Env,
		User:       config.User,
		WorkingDir: config.WorkingDir,
		Labels:     config.Labels,
	}
	if len(config.ExposedPorts) > 0 {
		file.Config.ExposedPorts = map[string]struct{}{}
		for _, port := range config.ExposedPorts {
			file.Config.ExposedPorts[port] = struct{}{}
		}
	}
	return mutate.ConfigFile(image, file)
}

// Pause is the image of pods' sandboxes.
func Pause() (v1.Image, error) {
	program, err := pauseProgram(runtime.GOARCH)
	if err != nil {
		return nil, err
	}
	layer, err := layerOfProgram("pause", func() (io.ReadCloser, int64, error) {
		return io.NopCloser(bytes.NewReader(program)), int64(len(program)), nil
	})
	if err != nil {
		return nil, err
	}
	return assemble(emptyImage(), []v1.Layer{layer}, Config{Entrypoint: []string{"/pause"}, User: "65535:65535"})
}

// OfProgram is an image with nothing in it but the static executable at path,
// under the given name, started with args before those that a pod adds.
func OfProgram(path, name string, args ...string) (v1.Image, error) {
	layer, err := layerOfProgram(name, func() (io.ReadCloser, int64, error) {
		file, err := os.Open(path)
		if err != nil {
			return nil, 0, err
		}
		info, err := file.Stat()
		if err != nil {
			return nil, 0, errors.Join(err, file.Close())
		}
		return file, info.Size(), nil
	})
	if err != nil {
		return nil, err
	}
	return assemble(emptyImage(), []v1.Layer{layer}, Config{Entrypoint: append([]string{"/" + name}, args...)})
}

// isImageArchive tells an image archive from the tar of a file system.
func isImageArchive(path string) (bool, error) {
	file, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer file.Close()
	archive := tar.NewReader(file)
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		} else if err != nil {
			return false, fmt.Errorf("%s: %w", path, err)
		}
		if header.Name == layoutFile || header.Name == dockerManifest {
			return true, nil
		}
	}
}
