# An index of one-liners; anything with an `if` is Go.
GO ?= go

.PHONY: build test race fuzz sim large mutants soak lint fmt bench chaos
build: ; CGO_ENABLED=0 $(GO) build -trimpath -o bin/ring ./cmd/ring
test: ; $(GO) test ./...
race: ; $(GO) test -race ./...
fuzz: ; .ci/fuzz 30s
sim: ; RINGTEST_FRESH=60s $(GO) test -run 'TestSim|TestFresh' ./ring/ringtest
large: ; RINGTEST_LARGE=2000 $(GO) test -run TestLarge -v ./ring/ringtest
mutants: ; $(GO) run ./ring/ringtest/mutants -rare
soak: ; RINGTEST_SEEDS=$${RINGTEST_SEEDS:-10000} $(GO) test -timeout 12h -v -run 'TestSoak' ./ring/ringtest && RINGTEST_ROLLS=$${RINGTEST_SEEDS:-2000} $(GO) test -timeout 2h -v -run 'TestRollSoak' ./ring/ringtest && RINGTEST_SEEDS=$${RINGTEST_SEEDS:-1000} $(GO) test -timeout 2h -run TestP2Hour ./run
chaos: ; PROCESSTEST_CHAOS=10m $(GO) test -race -timeout 1h -v -run 'TestP2|TestP3|TestP4|TestS1|TestB1|TestH3' ./processtest
lint: ; $(GO) vet ./... && $(GO) tool -modfile=tools/go.mod staticcheck ./...
fmt: ; $(GO) tool -modfile=tools/go.mod gofumpt -w .
bench: ; cd bench && for e in hops start death bus anchor broadcast storm gather passengers lap skew bulk partial false idle fleet; do $(GO) run . $$e; done
