package pki

import (
	"fmt"
	"os"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// Kubeconfig says how one user reaches one API server.
type Kubeconfig struct {
	// Cluster names cluster and context.
	Cluster string
	// Server is the API server's URL.
	Server string
	User   string
}

// WriteKubeconfig writes a kubeconfig with everything inside it (no paths), so
// that the one file can be copied elsewhere. Only its owner may read it.
func WriteKubeconfig(path string, authority *Authority, client Pair, k Kubeconfig) error {
	ca, err := os.ReadFile(authority.CertFile)
	if err != nil {
		return err
	}
	cert, err := os.ReadFile(client.CertFile)
	if err != nil {
		return err
	}
	key, err := os.ReadFile(client.KeyFile)
	if err != nil {
		return err
	}
	config := api.NewConfig()
	config.Clusters[k.Cluster] = &api.Cluster{Server: k.Server, CertificateAuthorityData: ca}
	config.AuthInfos[k.User] = &api.AuthInfo{ClientCertificateData: cert, ClientKeyData: key}
	config.Contexts[k.Cluster] = &api.Context{Cluster: k.Cluster, AuthInfo: k.User}
	config.CurrentContext = k.Cluster
	data, err := clientcmd.Write(*config)
	if err != nil {
		return fmt.Errorf("kubeconfig of %s: %w", k.User, err)
	}
	partial := path + ".partial"
	if err := os.WriteFile(partial, data, 0o600); err != nil {
		return err
	}
	return os.Rename(partial, path)
}
