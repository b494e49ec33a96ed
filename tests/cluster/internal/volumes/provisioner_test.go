package volumes

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

func claim() *corev1.PersistentVolumeClaim {
	class := "standard"
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "data", UID: "1234", Annotations: map[string]string{claimProvisioner: Provisioner},
		},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceStorage: resource.MustParse("1Gi"),
			}},
		},
	}
}

func TestAClaimGetsAFolderThatEverybodyCanWriteAndItsReleaseRemovesIt(t *testing.T) {
	dir := t.TempDir()
	client := fake.NewClientset(claim())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- Serve(ctx, client, "local", dir) }()

	volumes := client.CoreV1().PersistentVolumes()
	var volume *corev1.PersistentVolume
	eventually(t, func() (err error) {
		volume, err = volumes.Get(ctx, "pvc-1234", metav1.GetOptions{})
		return err
	})
	folder := filepath.Join(dir, "pvc-1234")
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatalf("folder: %v (%v)", info, err)
	}
	volume.Status.Phase = corev1.VolumeReleased
	if _, err := volumes.UpdateStatus(ctx, volume, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	bound := claim()
	bound.Spec.VolumeName = volume.Name
	if _, err := client.CoreV1().PersistentVolumeClaims("shop").Update(ctx, bound, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, func() error {
		if _, err := os.Stat(folder); err == nil {
			return os.ErrExist
		}
		return nil
	})
	cancel()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestOthersClaimsAndVolumesAreLeftAlone(t *testing.T) {
	foreign := claim()
	foreign.Annotations[claimProvisioner] = "example.test/disk"
	if wantsFolder(foreign) {
		t.Error("another provisioner's claim")
	}
	volume := (&folders{dir: "/volumes", node: "local"}).volumeFor(claim())
	volume.Status.Phase = corev1.VolumeReleased
	volume.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimRetain
	if isReleased(volume) {
		t.Error("a volume that is to be kept")
	}
	volume.Spec.Local.Path = "/etc"
	if err := (&folders{dir: "/volumes"}).remove(t.Context(), volume); err == nil {
		t.Error("a folder elsewhere was removed")
	}
}

func eventually(t *testing.T, check func() error) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
