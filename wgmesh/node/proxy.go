package node

import (
	"net/url"

	"golang.org/x/net/http/httpproxy"
)

// proxyFor says through which proxy a target of the control port is dialled: the configured one for all, or what
// HTTPS_PROXY and NO_PROXY say. Without either it is nil: directly.
func proxyFor(configured string) func(target string) (*url.URL, error) {
	env := httpproxy.FromEnvironment()
	if configured != "" {
		env = &httpproxy.Config{HTTPSProxy: configured}
	}
	find := env.ProxyFunc()
	return func(target string) (*url.URL, error) {
		return find(&url.URL{Scheme: "https", Host: target})
	}
}
