# make bench: see the head of tests/bench/bench.cpp for what can be set (ROUNDS, SECONDS_PER, ONLY, WORKLOADS, OUTPUT).
BENCH_PROGRAMS := $(patsubst tests/%.cpp,$(BUILD)/tests/%,$(wildcard tests/bench/programs/*.cpp)) \
                  $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/bench/programs/*.c))

$(BUILD)/tests/bench/programs/%: tests/bench/programs/%.c
	@mkdir -p $(@D)
	$(CC) -O2 -g -Wall -Wextra $< -lfcgi -o $@

$(call objects,tests/bench/module): CPPFLAGS += $(APXS_FLAGS)
$(BUILD)/tests/bench/mod_bench.so: $(call objects,tests/bench/module)
	@mkdir -p $(@D)
	$(CXX) -shared $(LDFLAGS) $^ -o $@

BENCH_SUPPORT := $(patsubst %,$(BUILD)/obj/tests/support/%.o,applications peer process temp_folder)
$(BUILD)/tests/bench/bench: $(call objects,tests/bench) $(BENCH_SUPPORT)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) $^ -lcurl -o $@

.PHONY: bench-build bench bench-short
bench-build: products $(BUILD)/tests/bench/bench $(BUILD)/tests/bench/mod_bench.so $(BENCH_PROGRAMS)

bench: dependencies-test ## compare with today's gateways: ROUNDS=5 SECONDS_PER=2 ONLY="a a' b" WORKLOADS="tiny large applications"
	@$(MAKE) --no-print-directory bench-build
	CPPFCGI_BUILD=$(abspath $(BUILD)) HTTPD=$(call apxs_query,sbindir)/$(call apxs_query,progname) \
	HTTPD_MODULES=$(call apxs_query,LIBEXECDIR) ROUNDS="$(ROUNDS)" SECONDS_PER="$(SECONDS_PER)" ONLY="$(ONLY)" \
	WORKLOADS="$(WORKLOADS)" $(BUILD)/tests/bench/bench

bench-short: ## the same in about a minute
	@$(MAKE) --no-print-directory bench ROUNDS=1 SECONDS_PER=1

# 200 clients on four slow workers, ours and others': see the head of tests/bench/overload/overload.cpp.
OVERLOAD_SUPPORT := $(patsubst %,$(BUILD)/obj/tests/support/%.o,crowd peer process temp_folder)
$(BUILD)/tests/bench/overload: $(call objects,tests/bench/overload) $(OVERLOAD_SUPPORT)
	@mkdir -p $(@D)
	$(CXX) $(LDFLAGS) $^ -lcurl -o $@

.PHONY: bench-overload
bench-overload: dependencies-test ## five times the load that a pool can serve, beside today's gateways: ROUNDS=3 SECONDS_PER=10
	@$(MAKE) --no-print-directory products $(BUILD)/tests/bench/overload
	CPPFCGI_BUILD=$(abspath $(BUILD)) HTTPD=$(call apxs_query,sbindir)/$(call apxs_query,progname) \
	HTTPD_MODULES=$(call apxs_query,LIBEXECDIR) timeout 900 $(BUILD)/tests/bench/overload
