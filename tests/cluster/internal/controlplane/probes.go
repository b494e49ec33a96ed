package controlplane

import (
	"context"
	"fmt"
	"net"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// EtcdListens is without error when etcd accepts connections.
func (c *ControlPlane) EtcdListens(ctx context.Context) error {
	address := net.JoinHostPort(loopback, strconv.Itoa(c.Ports.EtcdClient))
	return c.Spawner.Do(func() error {
		connection, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return err
		}
		return connection.Close()
	})
}

// Client gives a client with the administrator's rights.
func Client(kubeconfig string) (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "tenantry-cluster"
	config.QPS = -1 // unlimited: the API server has its own limits
	return kubernetes.NewForConfig(config)
}

// APIServerReady is without error when the API server says that it is ready.
func APIServerReady(client kubernetes.Interface) func(context.Context) error {
	return func(ctx context.Context) error {
		body, err := client.Discovery().RESTClient().Get().AbsPath("/readyz").DoRaw(ctx)
		if err != nil && len(body) > 0 {
			return fmt.Errorf("%w: %s", err, body)
		}
		return err
	}
}

// ControllersWork is without error when the controller manager has done its
// first visible work: a service account for the namespace `default`.
func ControllersWork(client kubernetes.Interface) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault).Get(ctx, "default", metav1.GetOptions{})
		return err
	}
}
