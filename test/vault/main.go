// Command vault is a real Vault of one process that keeps everything in memory: HashiCorp's core and HTTP API with
// the key-value and PKI secret engines and Kubernetes authentication. The tests use it; it is no part of Eventide.
//
// It prints one line, "ADDRESS ROOT_TOKEN", once it is unsealed, and ends when its standard input does.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"

	"github.com/hashicorp/go-hclog"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/logical/pki"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

var (
	engines = map[string]logical.Factory{"kv": kv.Factory, "pki": pki.Factory}
	methods = map[string]logical.Factory{"kubernetes": kubernetes.Factory}
)

// registry says that what is compiled in is all there is.
type registry struct{}

func (registry) of(kind consts.PluginType) map[string]logical.Factory {
	switch kind {
	case consts.PluginTypeSecrets:
		return engines
	case consts.PluginTypeCredential:
		return methods
	default:
		return nil
	}
}

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, there := r.of(kind)[name]
	return there
}

func (r registry) Get(name string, kind consts.PluginType) (func() (interface{}, error), bool) {
	factory, there := r.of(kind)[name]
	return func() (interface{}, error) { return factory, nil }, there
}

func (r registry) Keys(kind consts.PluginType) []string {
	return slices.Collect(maps.Keys(r.of(kind)))
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	core, token, err := unsealed()
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}})
	go func() {
		if err := http.Serve(listener, handler); err != nil {
			log.Fatal(err)
		}
	}()
	fmt.Printf("http://%s %s\n", listener.Addr(), token)
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

func unsealed() (*vault.Core, string, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Error, Output: os.Stderr})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, "", err
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		DisableMlock:       true,
		Logger:             logger,
		LogicalBackends:    engines,
		CredentialBackends: methods,
		BuiltinRegistry:    registry{},
	})
	if err != nil {
		return nil, "", err
	}
	shares := &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}
	made, err := core.Initialize(context.Background(), &vault.InitParams{BarrierConfig: shares, RecoveryConfig: shares})
	if err != nil {
		return nil, "", err
	}
	open, err := core.Unseal(made.SecretShares[0])
	if err == nil && !open {
		err = errors.New("Vault is still sealed")
	}
	return core, made.RootToken, err
}
