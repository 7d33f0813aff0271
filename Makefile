# make build            bin/weavewg, self-contained
# make demo             a three-host mesh on this machine, shown working (asks for sudo where it must)
# make test             everything below but soak, bench and vagrant; installs the Debian packages that are missing
# make check            format, vet, linter, import rules, modules
# make unit sim lab vm  the rings, one by one
# make soak             the same tests with their full counts
# make fuzz             every fuzz target for FUZZTIME (30s)
# make bench            against bare WireGuard, hand-made VXLAN and fastd; BENCH=-pairs=9
# make vagrant          the scenarios on three Vagrant boxes, over SSH

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := build

GO       ?= go
FUZZTIME ?= 30s
BENCH    ?= -pairs=9
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo 0.1.0-dev)
LDFLAGS  := -s -w -X main.version=$(VERSION)
LINTER   := bin/golangci-lint

# The version comes by ldflags; stamping it by git as well fails in a clone that belongs to another user.
export GOFLAGS := $(GOFLAGS) -buildvcs=false
# Test binaries are built by the calling user and run by root, who alone may make network namespaces. What they build
# themselves goes into a cache of root's own.
ROOT := $(if $(filter 0,$(shell id -u)),,-exec "sudo -n -E env PATH=$(PATH) GOCACHE=$(CURDIR)/.cache/go-root")
# The race detector is the only thing here that needs a C compiler.
RACE := CGO_ENABLED=1 $(GO) test -race -timeout 15m

UNIT = $$($(GO) list ./... | grep -v '/integration/')

.PHONY: build demo test soak check unit sim lab vm bench fuzz vagrant go deps clean

build: go
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/weavewg ./cmd/weavewg

demo: build
	tools/as-root.sh bin/weavewg demo

test: deps check unit sim lab vm
	@echo 'make test: ok'

soak: export WEAVEWG_SOAK = 1
soak: deps check
	$(RACE) -count=1 -timeout 4h $(ROOT) $(UNIT)
	$(GO) test -count=1 -timeout 8h ./integration/sim/...
	$(MAKE) build lab vm

check: go $(LINTER)
	unformatted=$$(gofmt -l $$(find . -name '*.go' -not -path './.*')); if [ -n "$$unformatted" ]; then echo "gofmt would change: $$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags vagrant ./integration/vagrant/
	$(GO) vet -tags pcap ./l2bridge/capture/
	$(GO) mod verify
	$(GO) mod tidy -diff
	$(GO) test -count=1 .
	$(LINTER) run ./...

# Fuzz targets run their seeds here; `make fuzz` lets them search.
unit: go
	$(RACE) $(ROOT) $(UNIT)
	$(RACE) -tags pcap $(ROOT) ./l2bridge/capture/...

sim: go
	$(GO) test -count=1 -timeout 20m ./integration/sim/...

lab: build
	$(GO) test -count=1 -p 1 -timeout 30m $(ROOT) ./integration/lab/... ./integration/scenarios/... ./integration/bench/... ./integration/vagrant/...

vm: build
	$(GO) test -count=1 -timeout 25m $(ROOT) ./integration/vm/...

bench: build
	$(GO) test -count=1 -timeout 8h -v $(ROOT) ./integration/bench/ -run '^TestCompare$$' -args $(BENCH) -results=$(CURDIR)/bench/results

fuzz: go
	for file in $$(grep -rl --include='*_test.go' '^func Fuzz' .); do
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file"); do
	    $(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$file")"
	  done
	done

vagrant: build
	integration/vagrant/run.sh

deps:
	tools/install-test-deps.sh

go:
	@tools/check-go.sh

# The linter has a module of its own, so that its 200 dependencies are not the program's.
$(LINTER): tools/go.mod tools/go.sum
	$(GO) build -modfile=tools/go.mod -o $@ github.com/golangci/golangci-lint/v2/cmd/golangci-lint

clean:
	rm -rf bin .cache
