// Package volumes makes a folder of the node into a volume for each claim that
// asks for one. Kubernetes' own provisioner of folders makes them for root
// alone, as hostPath volumes, which have no fsGroup: pods that do not run as
// root, all good ones, could not write to them.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
)

const (
	// Provisioner is what a StorageClass names to get folders.
	Provisioner = "tenantry.dev/folder"
	// claimProvisioner is how the volume controller asks an outside provisioner.
	claimProvisioner = "volume.kubernetes.io/storage-provisioner"
	madeBy           = "pv.kubernetes.io/provisioned-by"
	// retryInterval is when what failed is tried again.
	retryInterval = 2 * time.Second
)

// folders is the provisioner of one node.
type folders struct {
	client kubernetes.Interface
	claims corelisters.PersistentVolumeClaimLister
	made   corelisters.PersistentVolumeLister
	node   string
	dir    string
}

// Serve makes and removes volumes below dir on the node until the context ends.
func Serve(ctx context.Context, client kubernetes.Interface, node, dir string) error {
	factory := informers.NewSharedInformerFactory(client, 0)
	core := factory.Core().V1()
	f := &folders{
		client: client, node: node, dir: dir,
		claims: core.PersistentVolumeClaims().Lister(), made: core.PersistentVolumes().Lister(),
	}
	changed := make(chan struct{}, 1)
	notice := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { wake(changed) },
		UpdateFunc: func(any, any) { wake(changed) },
		DeleteFunc: func(any) { wake(changed) },
	}
	for _, informer := range []cache.SharedIndexInformer{core.PersistentVolumeClaims().Informer(), core.PersistentVolumes().Informer()} {
		if _, err := informer.AddEventHandler(notice); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	retry := time.NewTicker(retryInterval)
	defer retry.Stop()
	failed := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-retry.C:
			if !failed {
				continue
			}
		}
		err := f.reconcile(ctx)
		if failed = err != nil; failed && ctx.Err() == nil {
			slog.Error("volumes", "error", err)
		}
	}
}

func wake(changed chan<- struct{}) {
	select {
	case changed <- struct{}{}:
	default: // it is awake already
	}
}

// reconcile makes what is claimed and removes what was released.
func (f *folders) reconcile(ctx context.Context) error {
	claims, err := f.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	volumes, err := f.made.List(labels.Everything())
	if err != nil {
		return err
	}
	var failures []error
	for _, claim := range claims {
		if wantsFolder(claim) {
			failures = append(failures, f.provide(ctx, claim))
		}
	}
	for _, volume := range volumes {
		if isReleased(volume) {
			failures = append(failures, f.remove(ctx, volume))
		}
	}
	return errors.Join(failures...)
}

func wantsFolder(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Annotations[claimProvisioner] == Provisioner && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil
}

func isReleased(volume *corev1.PersistentVolume) bool {
	return volume.Annotations[madeBy] == Provisioner && volume.Status.Phase == corev1.VolumeReleased &&
		volume.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete && volume.DeletionTimestamp == nil
}

// provide makes the folder first: a volume without one would fail its pod.
func (f *folders) provide(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	volume := f.volumeFor(claim)
	path := volume.Spec.Local.Path
	if err := os.MkdirAll(path, 0o755); err != nil {
		return err
	}
	// Open for every user, past the umask; a pod with an fsGroup has it set besides.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	_, err := f.client.CoreV1().PersistentVolumes().Create(ctx, volume, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("volume for %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

func (f *folders) volumeFor(claim *corev1.PersistentVolumeClaim) *corev1.PersistentVolume {
	// The claim's UID: the same claim always gets the same volume.
	name := "pvc-" + string(claim.UID)
	var class string
	if claim.Spec.StorageClassName != nil {
		class = *claim.Spec.StorageClassName
	}
	return &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{madeBy: Provisioner}},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: claim.Spec.Resources.Requests[corev1.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			StorageClassName:              class,
			ClaimRef: &corev1.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: corev1.PersistentVolumeSource{
				Local: &corev1.LocalVolumeSource{Path: filepath.Join(f.dir, name)},
			},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{f.node},
				}}}},
			}},
		},
	}
}

// remove removes the folder first: without the volume nobody would know of it.
func (f *folders) remove(ctx context.Context, volume *corev1.PersistentVolume) error {
	if volume.Spec.Local == nil || filepath.Dir(volume.Spec.Local.Path) != f.dir {
		return fmt.Errorf("volume %s is not below %s; remove it by hand", volume.Name, f.dir)
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	uid := volume.UID
	err := f.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove volume %s: %w", volume.Name, err)
	}
	return nil
}
