# An index of one-liners; anything with an `if` is Go.
GO ?= go

.PHONY: build test race fuzz sim mutants soak lint fmt bench
build: ; CGO_ENABLED=0 $(GO) build -trimpath -o bin/ring ./cmd/ring
test: ; $(GO) test ./...
race: ; $(GO) test -race ./...
sim: ; RINGTEST_FRESH=60s $(GO) test -run 'TestSim|TestFresh' ./ring/ringtest
mutants: ; $(GO) run ./ring/ringtest/mutants
soak: ; RINGTEST_FRESH=4h $(GO) test -timeout 5h -run 'TestFresh' ./ring/ringtest
lint: ; $(GO) vet ./... && $(GO) tool -modfile=tools/go.mod staticcheck ./...
fmt: ; $(GO) tool -modfile=tools/go.mod gofumpt -w .
bench: ; cd bench && $(GO) run . hops death partial false idle fleet
