# popcheck. `make` alone lists what there is.

GO          ?= go
OUT         ?= popcheck-out
ARGS        ?=
STATICCHECK := 0.8.2
# Plain numbers for HTTP statuses read well beside the wire, above all in tests.
CHECKS      := inherit,-ST1013
OIDC        := fixtures/targets/oidc-provider
ONLY        ?= *

# A tool that was built by an older Go cannot read the code for a newer one, so its name has both versions.
staticcheck := bin/staticcheck-$(STATICCHECK)-$(shell $(GO) env GOVERSION)
# The race detector needs a C compiler; without one Go switches cgo off by itself.
race        := $(if $(filter 1,$(shell $(GO) env CGO_ENABLED)),-race)

.DEFAULT_GOAL := help
.PHONY: help test-target test lint build kill tables vendors clean npm
.DELETE_ON_ERROR:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The name of the target file goes through the environment: a shell must not read what is in it.
test-target: export POPCHECK_TARGET_FILE = $(TARGET)
test-target: build ## run popcheck against its embedded server, TARGET=file, or CONTAINER=reference|keycloak (also OUT=dir ARGS='--select dpop')
ifneq ($(origin CONTAINER),undefined)
	@test -z "$$POPCHECK_TARGET_FILE" || { echo 'make: TARGET= and CONTAINER= are two targets; name one' >&2; exit 2; }
	$(GO) build -o bin/containers ./fixtures/containers/run
	bin/containers '$(CONTAINER)' --out '$(OUT)' $(ARGS)
else ifeq ($(origin TARGET),undefined)
	bin/popcheck run --out '$(OUT)' $(ARGS)
else
	@test -n "$$POPCHECK_TARGET_FILE" || { echo 'make: TARGET= is empty; leave it out to test the embedded reference target' >&2; exit 2; }
	bin/popcheck run --out '$(OUT)' $(ARGS) -- "$$POPCHECK_TARGET_FILE"
endif

# The race detector makes a run of the suite several times slower. It sees each package by its own tests, and the whole suite by those that
# run it with interrupts, ends in mid-run and parts in parallel; what runs the suite over and over is tested without it.
raced := TestTheSoundTarget|TestATargetThatEndsInMidRun|TestAnInterruptEndsAWait|TestAWorkerThatIsLost|TestMeasuredValues
probes := TestFaultsBreakWhatTheySay|TestSoundTargetWithstandsEveryProbe

test: lint npm ## every test of popcheck itself, after lint
	@test -n '$(race)' || echo 'make: no C compiler: testing without the race detector' >&2
	$(GO) test $(race) -shuffle=on -timeout 20m -skip '^($(probes))$$' ./attacks/... ./fixtures/... ./harness/... ./reports/...
	$(GO) test $(race) -shuffle=on -timeout 20m -run '^($(raced))$$' ./suites/...
	$(GO) test -shuffle=on -timeout 20m .
	$(GO) test -shuffle=on -timeout 30m -run '^($(probes))$$' ./fixtures
	$(GO) test -shuffle=on -timeout 30m -skip '^($(raced))$$' ./suites/...

lint: $(staticcheck) ## go vet, staticcheck and gofmt
	$(GO) vet ./...
	$(staticcheck) -checks $(CHECKS) ./...
	@unformatted=$$("$$($(GO) env GOROOT)/bin/gofmt" -l $$(git ls-files '*.go' 2>/dev/null || echo .)); \
	test -z "$$unformatted" || { echo "gofmt would change: $$unformatted" >&2; exit 1; }

build: ## bin/popcheck
	$(GO) build -o bin/popcheck .

kill: ## everything against every fault and every dialect: prints which check catches which
	POPCHECK_KILL=whole $(GO) test ./suites -run '^(TestKillMatrix|TestDialects)$$' -count=1 -timeout 60m -v

tables: ## write what is generated from the catalogue anew, after a new check
	$(GO) test ./attacks -run '^TestCoverage$$' -update
	$(GO) test ./suites -run '^TestWhatWasSent$$' -update

vendors: build ## run popcheck on every real server that this machine can start, and write their matrix (ONLY='key*' ARGS='--slow')
	$(GO) run ./fixtures/vendors -only '$(ONLY)' -- $(ARGS)

clean: ## remove what make and popcheck left here
	rm -rf bin popcheck-out vendors-out $(OIDC)/node_modules fixtures/targets/*/run

$(staticcheck):
	GOBIN='$(CURDIR)/bin' $(GO) install honnef.co/go/tools/cmd/staticcheck@v$(STATICCHECK)
	@mv bin/staticcheck $@

# Where a recipe misses something (77) the tests against it are skipped; where CI is set that is a failure.
npm:
	@$(OIDC)/install || { status=$$?; test $$status = 77 && test -z "$$CI" || exit $$status; }
