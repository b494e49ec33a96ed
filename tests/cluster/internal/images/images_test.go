package images

import (
	"archive/tar"
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// tarOf writes a tar with files of the given names and contents.
func tarOf(t *testing.T, files ...string) string {
	t.Helper()
	var data bytes.Buffer
	out := tar.NewWriter(&data)
	for i := 0; i < len(files); i += 2 {
		if err := out.WriteHeader(&tar.Header{Name: files[i], Mode: 0o644, Size: int64(len(files[i+1]))}); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(path, data.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func digestOf(t *testing.T, image v1.Image) string {
	t.Helper()
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return digest.String()
}

func TestTheSameInputsGiveTheSameDigestAndFile(t *testing.T) {
	layer := tarOf(t, "app", "hello")
	config := Config{Entrypoint: []string{"/app"}, Env: []string{"A=b"}, Labels: map[string]string{"x": "1", "y": "2"}}
	var files [2][]byte
	for i := range files {
		image, err := Build("", []string{layer}, config)
		if err != nil {
			t.Fatal(err)
		}
		output := filepath.Join(t.TempDir(), "image.tar")
		if err := Write(output, image); err != nil {
			t.Fatal(err)
		}
		if files[i], err = os.ReadFile(output); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(files[0], files[1]) {
		t.Error("two builds differ")
	}
}

func TestAnImageComesBackFromItsArchiveWithItsDigest(t *testing.T) {
	config := Config{Cmd: []string{"/app"}, User: "10001:10001", WorkingDir: "/data", ExposedPorts: []string{"8080/tcp"}}
	built, err := Build(tarOf(t, "etc/os-release", "none"), []string{tarOf(t, "app", "hello")}, config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "image.tar")
	if err := Write(path, built); err != nil {
		t.Fatal(err)
	}
	opened, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if digestOf(t, opened) != digestOf(t, built) {
		t.Error("another digest")
	}
	file, err := opened.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if len(file.RootFS.DiffIDs) != 2 || file.Config.User != "10001:10001" || !file.Created.Equal(time.Unix(0, 0)) {
		t.Errorf("config: %+v", file)
	}
	onTop, err := Build(path, []string{tarOf(t, "more", "yes")}, config)
	if err != nil {
		t.Fatal(err)
	}
	if layers, err := onTop.Layers(); err != nil || len(layers) != 3 {
		t.Errorf("an image as base: %d layers (%v)", len(layers), err)
	}
}

func TestLayersThatAreThereAreLeftOutOfAnImport(t *testing.T) {
	image, err := Build("", []string{tarOf(t, "app", strings.Repeat("x", 1<<20))}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	var whole, rest bytes.Buffer
	if err := writeLayout(&whole, image, nil, func(v1.Hash) bool { return false }); err != nil {
		t.Fatal(err)
	}
	if err := writeLayout(&rest, image, []string{"a/b:c"}, func(v1.Hash) bool { return true }); err != nil {
		t.Fatal(err)
	}
	if whole.Len() < 1<<20 || rest.Len() > 1<<16 {
		t.Errorf("whole %d bytes, without layers %d", whole.Len(), rest.Len())
	}
}

func TestAWrongDigestIsRefused(t *testing.T) {
	digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
	names, err := namesFor("registry.example/app@"+digest.String(), "registry.example/app:v1", digest)
	if err != nil {
		t.Fatal(err)
	}
	if len(names) != 2 || names[0] != "registry.example/app@"+digest.String() || names[1] != "registry.example/app:v1" {
		t.Errorf("names %v", names)
	}
	if _, err := namesFor("registry.example/app@sha256:"+strings.Repeat("b", 64), "", digest); err == nil {
		t.Error("accepted")
	}
}

func TestAnUnknownKeyInAConfigIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte(`{"entrypiont": ["/app"]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadConfig(path); err == nil || !strings.Contains(err.Error(), "entrypiont") {
		t.Errorf("got %v", err)
	}
}

func TestTheSandboxProgramWaitsAndEndsOnSIGTERM(t *testing.T) {
	program, err := pauseProgram(runtime.GOARCH)
	if err != nil {
		t.Skip(err)
	}
	path := filepath.Join(t.TempDir(), "pause")
	if err := os.WriteFile(path, program, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	waitUntilAsleep(t, cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// waitUntilAsleep returns when the process is in a system call that waits.
func waitUntilAsleep(t *testing.T, pid int) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "syscall"))
		if err != nil {
			t.Fatal(err)
		}
		const pauseAMD64, ppollARM64 = "34 ", "73 "
		if strings.HasPrefix(string(data), pauseAMD64) || strings.HasPrefix(string(data), ppollARM64) {
			return
		}
	}
	t.Fatal("never waits")
}
